"""The report as a reader opens it: in a browser, offline, on a laptop and on a phone."""

import io
import re
import shutil
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pyarrow.parquet as pq
import pytest
import yaml
from docutils.core import publish_parts
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import sync_playwright

from diffuselm.config.config import read_config
from diffuselm.errors import InputError
from diffuselm.files.tables import write_table
from diffuselm.paper.report_pages import html_page, report_pages
from diffuselm.paper.table_files import escape_markdown, one_line
from diffuselm.plan.display import Display
from diffuselm.plan.make_plan import make_plan
from sketches import BIOGRAPHIES
from workflow_runs import MODEL, ROOT, SMALL, finished_run, snakemake

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
SCREENS = {"laptop": (1366, 768), "phone": (390, 844)}
SHOWN = {
    "1 Scorecard": ["Scorecard"],
    "2 Random numbers and names (section 4)": ["Figure 1", "Figure 2", "Table 4"],
    "3 Generalization across tasks (section 5)": ["Figure 3", "Table 5", "Table 6"],
    "4 Biographies (section 6)": [
        *("Figure 4", "Figure 5"),
        *("Table 1", "Table 2", "Table 3", "Table 7", "Table 8"),
    ],
    "5 General capabilities (appendix B.5)": ["Figure 6"],
}
HOSTILE = (
    "<script>console.error('x')</script>",
    '"><img src=x onerror="alert(\'x\')">',
    "[link](javascript:alert('x')) ![image](https://a.example/x.png) <https://a.example>",
    "</td></table></script><iframe src='https://a.example'></iframe> & me@a.example",
)


def poison(file):
    """Let every answer in a file of biographies be valid, and hostile in every value and line."""
    table = pq.read_table(file).to_pandas()
    text = [field.name for field in BIOGRAPHIES if field.type == "string"]
    for column in {*text} - {"prompt", "problem"}:
        table[column] = [HOSTILE[i % len(HOSTILE)] for i in range(len(table))]
    table["answer"] = "\n".join(f"{{{line}}}" for line in HOSTILE)
    write_table(file, table.assign(valid=True, problem=None, birth_year=1985), BIOGRAPHIES)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(finished_run(), folder, symlinks=True)
    results = folder / "results"
    poison(results / f"records/biographies/{MODEL}/base.parquet")
    # What shows answers; what counts them is as it was.
    shown = ("results/tables/table-1.md", "results/figures/figure-5.png")
    snakemake(folder, "--cores", "2", *shown, config=SMALL)
    tables = sorted((results / "tables").glob("*.md"))
    report_pages(tables=[results / "scorecard.md", *tables], out=results / "report")
    snakemake(folder, "--report", "report.html", config=SMALL)
    return folder / "report.html"


@pytest.fixture(scope="module")
def chromium():
    if not CHROMIUM.exists():
        pytest.fail(f"no {CHROMIUM}; expected Chromium: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=SCREENS)
def page(request, report, chromium):
    """The opened report, on each screen; whatever it complains of or asks for fails the test."""
    width, height = SCREENS[request.param]
    context = chromium.new_context(viewport={"width": width, "height": height}, offline=True)
    page = context.new_page()
    problems = []
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: problems.append(request.url) if remote(request) else None)
    page.goto(report.as_uri())
    yield page
    context.close()
    assert not problems


def remote(request):
    return not request.url.startswith(("file:", "data:", "blob:"))


def menu_of_results(page):
    """The categories of results in the menu, as it orders them."""
    page.get_by_text("Statistics", exact=True).wait_for()
    return [item for item in page.locator("nav li").all_inner_texts() if item[:1].isdigit()]


def within_the_screen(page, button):
    box = button.bounding_box()
    return box["x"] >= 0 and box["x"] + box["width"] <= page.viewport_size["width"]


def fits(page):
    """No sideways scrolling, of the report or of the page in it."""
    fitting = "() => document.documentElement.scrollWidth <= window.innerWidth"
    return all(frame.evaluate(fitting) for frame in page.frames)


def show(page, result):
    """Click on a result's eye, in the open category."""
    row = page.locator("nav tbody tr").filter(has=page.get_by_text(result, exact=True))
    eye = row.locator("a").first
    assert within_the_screen(page, eye), result
    eye.click()
    if result.startswith("Figure"):
        image = page.locator("img[src^='data:image/png']")
        image.wait_for()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 500
    else:
        table = page.frame_locator("iframe").locator("body").filter(has_text=result)
        assert table.locator("table tbody tr").first.inner_text().strip()
        assert fits(page)
    return row


def test_every_result_is_shown_with_its_caption(page, tmp_path):
    assert menu_of_results(page) == list(SHOWN)
    for part, results in SHOWN.items():
        page.locator("nav li").get_by_text(part, exact=True).click()
        assert page.locator("nav tbody td:first-child").all_inner_texts() == results
        for result in results:
            row = show(page, result)
            page.screenshot(path=tmp_path / f"{result}.png")
            row.locator("a").last.click()
            caption = page.locator("nav .prose").inner_text()
            assert caption.startswith(f"{result}: ")
            assert f"Models: {MODEL}." in caption
            asked = {"Figure 2": "500", "Figure 6": "100"}.get(result, "1,000")
            assert re.search(rf"\b{asked}\b", caption)
            page.screenshot(path=tmp_path / f"{result}, caption.png")
            page.locator("nav nav").get_by_text(part, exact=True).click()
        page.locator("nav nav").get_by_text("Results", exact=True).click()
    assert len(list(tmp_path.glob("*.png"))) == 2 * sum(map(len, SHOWN.values()))


def test_the_first_page_tells_what_this_is_and_leads_to_the_scorecard(page, tmp_path):
    about = page.locator(".prose").first
    about.wait_for()
    page.screenshot(path=tmp_path / "first page.png")
    assert f"{MODEL} (stand-in for llama-2)" in about.inner_text()
    assert "Stand-ins are tiny models" in about.inner_text()
    assert "MT-Bench: no judge configured" in about.inner_text()
    about.get_by_text("scorecard", exact=True).click()
    assert page.locator("nav .prose").inner_text().startswith("Scorecard: ")


def test_what_a_model_wrote_stays_text(page):
    page.locator("nav li").get_by_text("4 Biographies", exact=False).click()
    for result in ("Table 1", "Table 3", "Figure 5"):
        show(page, result)
        if result != "Figure 5":
            body = page.frame_locator("iframe").locator("body")
            for line in HOSTILE:
                assert line in body.inner_text()
            assert body.locator("script, img, a, iframe").count() == 0


# Pages


class Shown(HTMLParser):
    """The tags and the text of the one cell of data in a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page.split("<td>")[1].split("</td>")[0])

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def page_of(cell):
    return html_page(f"| head |\n| --- |\n| {cell} |\n", "table")


@given(st.text(min_size=1) | st.sampled_from(HOSTILE))
def test_a_cell_shows_the_text_it_was_given(text):
    cell = Shown(page_of(escape_markdown(text)))
    assert cell.tags == []
    assert cell.text == one_line(text).strip()


def test_markup_that_slipped_through_stays_text():
    cell = Shown(page_of("a<br>b <script>x</script> <b onclick=x>y</b> [z](x) ![i](x) <http://a>"))
    assert cell.tags == ["br"]
    assert "<script>x</script> <b onclick=x>y</b> z" in cell.text
    assert "<script>" not in html_page("<script>\nx\n</script>\n", "block")


def test_a_page_asks_for_nothing():
    page = page_of("x")
    assert "default-src 'none'" in page
    for request in ("src=", "href=", "url(", "@import", "<script"):
        assert request not in page


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_table_that_cannot_be_read_is_one_line(tmp_path, content):
    file = tmp_path / "table-4.md"
    if content:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"^.*table-4\.md: not readable .* expected Markdown$"):
        report_pages(tables=[file], out=tmp_path / "pages")
    assert not (tmp_path / "pages").exists()


# Captions


@cache
def told_of(config):
    """A config as it is given, its settings, and what captions are told of it."""
    made = {**yaml.safe_load((ROOT / "config.yaml").read_text()), "baseline": "form"}
    given = made if config == "taught.yaml" else yaml.safe_load((ROOT / config).read_text())
    settings = read_config(given, config)
    return given, settings, Display(make_plan(settings, config)).caption


@pytest.mark.parametrize("config", ["config.yaml", "config/paper.yaml", "taught.yaml"])
@pytest.mark.parametrize("caption", sorted((ROOT / "workflow/report").glob("*.rst")), ids=str)
def test_captions_tell_models_and_n(caption, config):
    given, settings, told = told_of(config)
    # These read the config as given, defaults left out.
    whole = caption.stem.startswith("workflow")
    template = jinja2.Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.Undefined if whole else jinja2.StrictUndefined,
    ).from_string(caption.read_text() + "\n\n.. _scorecard.html: x\n.. _table-of-tasks.html: x\n")
    text = template.render(snakemake={"params": {"caption": told}, "config": given})
    warnings = io.StringIO()
    shown = publish_parts(text, settings_overrides={"warning_stream": warnings})["whole"]
    assert not warnings.getvalue()
    assert all(model in shown for model in settings.models)
    asked = {"figure-2": 500, "figure-6": 100}.get(caption.stem, settings.sample.draws)
    if not whole:
        assert f"{asked:,} answers" in shown or f"= {asked:,}" in shown
    assert ("after tuning on the asked" in " ".join(shown.split())) == (
        config == "taught.yaml" and "before_tuning" in caption.read_text()
    )
    assert ("no judge configured" in shown) == (
        caption.stem in ("workflow", "figure-6") and not settings.mt_bench
    )
