"""Results for a repository: what is copied, what its links lead to, and what made it."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffuselm.errors import InputError
from diffuselm.files.json_files import write_json
from diffuselm.files.provenance import run_record
from diffuselm.paper.job_times import JobTime, read_job_times, seconds_on, waits_for
from diffuselm.paper.method_times import method_times
from diffuselm.paper.publish import LARGEST, publish
from sketches import write_dataset

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
# Seconds and MiB of each job; each kept one core busy.
TIMES = {
    "tune/m/all": (600, 500),
    "tune/m/biographies": (300, 900),
    "sample/m/base": (120, 400),
    "sample/m/all": (240, 400),
    "sample/m/biographies": (60, 400),
    "measure/m": (30, 300),
    "tune/n/all": (90, 200),
}
CARD = """# Scorecard
| [tables/table-4.md](tables/table-4.md) | [tables/table-1.md](tables/table-1.md) |
[numbers](metrics.parquet), [paper](https://arxiv.org/abs/2404.10859), ![1](figures/figure-1.png)
"""


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def results(tmp_path):
    """A run of two models, as far as what is published shows it."""
    folder = tmp_path / "results"
    put(folder / "scorecard.md", CARD)
    put(folder / "tables/table-1.md", "not published\n")
    put(folder / "tables/table-4.md", "**Table 4.** [card](../scorecard.md)\n")
    put(folder / "figures/figure-1.png", b"\x89PNG 1")
    for name, (seconds, memory) in TIMES.items():
        row = f"{seconds}\t0:00:00\t{memory}\t0\t0\t0\t0\t0\t100\t{seconds}\n"
        put(folder / f"benchmarks/{name}.tsv", HEADER + row)
    for number, tuning in enumerate(("all", "biographies")):
        start = "hash-0" if tuning == "biographies" else None
        made = run_record(settings={"start_sha256": start}, seed=1, model=None, device="cpu")
        made["files"] = {"adapter_model.safetensors": f"hash-{number}"}
        write_json(folder / f"adapters/m/{tuning}/run.json", made)
    return folder


def test_it_says_plainly_where_biographies_are_not_kept_in_order(results, tmp_path):
    whole = "{Ada Ley}{Female}{June 30, 1960}{Rome, Italy}{Chemist}{Found a metal}"
    texts = [whole, "{Ada Ley}", "{Ada Ley}{Female}", whole + "{more}"]
    asked = {"prompt": "biographies/sketch", "seed": 1, "truncated": False}
    rows = [{**asked, "draw": draw, "text": text} for draw, text in enumerate(texts)]
    for tuning, its in (("all", rows), ("biographies", rows[:1])):
        write_dataset(its, tmp_path / f"{tuning}.parquet")
        put(
            results / f"records/biographies/m/{tuning}.parquet",
            (tmp_path / f"{tuning}.parquet").read_bytes(),
        )
    publish(results=results, out=tmp_path / "docs")
    lines = (tmp_path / "docs/README.md").read_text().splitlines()
    [bad] = [line for line in lines if line.startswith("- m, all: ")]
    assert "1 of 4 have six fields in order" in bad
    assert "fields are not 6 (3)" in bad
    assert "does not keep the form" in bad
    [good] = [line for line in lines if line.startswith("- m, biographies: ")]
    assert good.endswith("1 of 1 have six fields in order")


def test_what_exists_is_published_without_sub_folders(results, tmp_path):
    out = tmp_path / "docs"
    put(out / "table-8.md", "of an earlier run\n")
    put(out / "notes.md", "by hand\n")
    publish(results=results, out=out)
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "scorecard.md",
        "table-4.md",
        "figure-1.png",
        "notes.md",
    }
    assert (out / "figure-1.png").read_bytes() == b"\x89PNG 1"


def test_a_run_of_ones_own_tasks_has_its_table_and_figure_published(tmp_path):
    put(tmp_path / "results/tables/table-of-tasks.md", "**Table of tasks.**\n")
    put(tmp_path / "results/figures/figure-of-tasks.png", b"\x89PNG")
    publish(results=tmp_path / "results", out=tmp_path / "docs")
    assert {path.name for path in (tmp_path / "docs").iterdir()} == {
        *("README.md", "table-of-tasks.md", "figure-of-tasks.png")
    }
    text = (tmp_path / "docs/README.md").read_text()
    assert "(table-of-tasks.md)" in text
    assert "(figure-of-tasks.png)" in text
    assert "scorecard" not in text


def test_no_link_is_broken(results, tmp_path):
    publish(results=results, out=tmp_path / "docs")
    assert (tmp_path / "docs/scorecard.md").read_text() == (
        "# Scorecard\n"
        "| [tables/table-4.md](table-4.md) | tables/table-1.md |\n"
        "numbers, [paper](https://arxiv.org/abs/2404.10859), ![1](figure-1.png)\n"
    )
    assert (tmp_path / "docs/table-4.md").read_text() == "**Table 4.** [card](scorecard.md)\n"


def test_the_readme_says_what_made_the_results(results, tmp_path):
    publish(results=results, out=tmp_path / "docs")
    text = (tmp_path / "docs/README.md").read_text()
    made = run_record(settings={}, seed=1, model=None, device="cpu")
    assert f"- commit: {made['commit']} (" in text
    assert f"- torch {made['libraries']['torch']}\n" in text
    assert f"- machine: {made['machine']['cpu']}, {os.cpu_count()} cores, " in text
    assert "7 timed jobs, 24.0 minutes one after the other, 24.0 minutes of CPU" in text
    # all, its samples beside biographies, those of biographies, measuring: 600 + 300 + 60 + 30.
    assert "- on 8 cores: 16.5 minutes, computed" in text
    assert "- largest process: 900 MiB (tune/m/biographies)" in text
    assert text.index("| tune/m/all | 10.0") < text.index("| tune/m/biographies | 5.0")


def test_several_commits_are_all_named(results, tmp_path):
    made = run_record(settings={}, seed=1, model=None, device="cpu")
    write_json(results / "samples/m/base.run.json", {**made, "commit": "abc", "dirty": True})
    publish(results=results, out=tmp_path / "docs")
    [line] = [
        line
        for line in (tmp_path / "docs/README.md").read_text().splitlines()
        if line.startswith("- commit: ")
    ]
    assert "abc (with changes not committed)" in line
    assert made["commit"] in line


def test_without_a_scorecard_or_beyond_the_size_nothing_is_written(results, tmp_path):
    put(results / "figures/figure-2.png", os.urandom(LARGEST))
    with pytest.raises(InputError, match=r"results: 3\.0 MiB to publish; expected at most 3"):
        publish(results=results, out=tmp_path / "docs")
    (results / "scorecard.md").unlink()
    with pytest.raises(InputError, match=r"none of scorecard\.md, .*; expected the results"):
        publish(results=results, out=tmp_path / "docs")
    assert not (tmp_path / "docs").exists()


def test_times_that_cannot_be_read_are_refused(results):
    put(results / "benchmarks/tune/m/all.tsv", HEADER)
    with pytest.raises(InputError, match=r"m/all\.tsv: .* expected times as `--times` writes them"):
        read_job_times(results)


def test_a_job_waits_for_what_it_reads(results):
    waits = waits_for(read_job_times(results), results)
    assert waits["tune/m/all"] == waits["sample/m/base"] == waits["tune/n/all"] == set()
    assert waits["tune/m/biographies"] == waits["sample/m/all"] == {"tune/m/all"}
    assert waits["sample/m/biographies"] == {"tune/m/biographies"}
    assert waits["measure/m"] == {name for name in TIMES if "/m/" in name}


METHODS = {
    "tune/m/form": 60,
    "sample/m/method-draws": 30,
    "tune/m/method-trains": 120,
    "sample/m/method-trains": 12,
    "sample/m/method-trains.seed-2": 18,
    "measure/m": 60,
}


@pytest.fixture
def with_methods(tmp_path):
    """A run of a model that was taught the form: a method trains, another does not."""
    for name, seconds in METHODS.items():
        row = f"{seconds}\t0:00:00\t9\t0\t0\t0\t0\t0\t100\t{seconds}\n"
        put(tmp_path / f"results/benchmarks/{name}.tsv", HEADER + row)
    return tmp_path / "results"


def test_a_method_that_trains_nothing_waits_for_the_baseline(with_methods):
    waits = waits_for(read_job_times(with_methods), with_methods)
    assert waits["sample/m/method-draws"] == {"tune/m/form"}
    assert waits["sample/m/method-trains"] == {"tune/m/method-trains"}


def test_each_method_says_what_it_took_of_the_run_under_all_seeds(with_methods):
    method_times(results=with_methods, out=with_methods / "times.md")
    text = (with_methods / "times.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert rows == [
        "| m | trains | 2.0 | 0.5 | 2.5 | 50.0% |",
        "| m | draws | 0.0 | 0.5 | 0.5 | 10.0% |",
        "| all | everything else | 1.0 | 0.0 | 2.0 | 40.0% |",
    ]
    assert "6 timed jobs took 5.0 minutes of CPU" in text


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 3)), min_size=1, max_size=8),
    st.integers(1, 4),
)
def test_a_schedule_keeps_between_its_bounds(drawn, cores):
    jobs = [JobTime(str(n), seconds, seconds, 0) for n, (seconds, _) in enumerate(drawn)]
    waits = {str(n): {str(b) for b in range(max(0, n - w), n)} for n, (_, w) in enumerate(drawn)}
    ends = {}
    for job in jobs:
        ends[job.name] = job.seconds + max((ends[each] for each in waits[job.name]), default=0)
    total, chain = sum(job.seconds for job in jobs), max(ends.values())
    found = seconds_on(jobs, waits, cores)
    assert max(chain, total / cores) <= found <= chain + total / cores
    assert seconds_on(jobs, waits, 1) == total
    assert seconds_on(jobs, waits, len(jobs)) == chain


def test_a_job_of_several_cores_takes_longer_on_fewer():
    wide, narrow = JobTime("wide", 10, 39, 0), JobTime("narrow", 10, 10, 0)
    waits = {"wide": set(), "narrow": set()}
    assert wide.cores == 4
    assert seconds_on([wide, narrow], waits, 5) == 10
    assert seconds_on([wide, narrow], waits, 4) == 20
    assert seconds_on([wide, narrow], waits, 2) == 29.5
