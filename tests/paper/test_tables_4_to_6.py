"""Tables 4, 5 and 6: what stands in each cell, beside which of the paper's numbers, and how."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from diffuselm.errors import InputError
from diffuselm.files.schemas import METRICS
from diffuselm.files.tables import write_rows
from diffuselm.paper.comparison import ModelRecord, load_models, mean_over_seeds
from diffuselm.paper.published import load_published, unswapped
from diffuselm.paper.table_files import Table, escape_markdown, latex
from diffuselm.paper.tables_4_5_6 import table_4, table_5_or_6, tables_4_5_6

PUBLISHED = Path(__file__).parents[2] / "resources" / "paper" / "published.csv"
GEMMA = ModelRecord(model="tiny-gemma", stand_in=True, paper_model="gemma")
MISTRAL = ModelRecord(model="mistral-7b", stand_in=False, paper_model="mistral")
OWN = ModelRecord(model="own", stand_in=False, paper_model=None)


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    return load_published(PUBLISHED)


def row(model, tuning, task, metric, value, *, prompt=None, seed=1, n=1000, half=0.25) -> dict:
    ends = {"value": value, "ci_low": value - half, "ci_high": value + half}
    ids = {"model": model, "tuning": tuning, "task": task, "prompt": prompt, "metric": metric}
    return ids | ends | {"field": "value", "n": n, "seed": seed}


def metrics(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=METRICS.names)


def the(frame: pd.DataFrame, **where) -> pd.Series:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


# The transcript


def test_transcript_holds_what_the_paper_printed(published):
    sums = published.groupby("table")["value"].agg(["size", "sum"])
    assert sums.loc[4, "size"] == 28
    assert sums.loc[[5, 6], "size"].tolist() == [36, 36]
    assert sums.loc[[7, 8], "size"].tolist() == [18, 12]
    # Column sums of the paper's tables, added by hand: any slipped digit changes one.
    table_5 = published[published["table"] == 5]
    base = table_5[table_5["tuning"] == "base"].groupby("model")["value"].sum()
    assert base.to_dict() == pytest.approx({"gemma": 300.0, "llama-2": 408.8, "mistral": 547.3})
    assert (
        the(published, table=4, model="mistral", tuning="only-names", metric="entropy").value
        == 5.78
    )


def test_no_published_entropy_exceeds_the_logarithm_of_its_coverage_once_unswapped(published):
    key = ["task", "prompt", "field", "model", "tuning"]

    def impossible(frame: pd.DataFrame) -> int:
        by = frame[(frame["note"] != "misprinted") & (frame["table"] != 1)]
        pairs = by.assign(prompt=by["prompt"].fillna("")).pivot_table("value", key, "metric")
        # Table 4 and 6 round to two decimals.
        return int((pairs["entropy"] > pairs["coverage"].map(math.log) + 0.005).sum())

    assert impossible(published) == 4
    assert impossible(unswapped(published)) == 0


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("5.69", "5.6g", "5.6g"),
        ("5.69", "inf", "inf"),
        (",note,", ",notes,", "columns"),
        ("gemma,base,entropy,1.16", "gemma-2,base,entropy,1.16", "gemma-2"),
        ("misprinted", "misprint", "misprint"),
        ("llama-2,base,count,284,,1,Evelyn", "llama-2,base,count,284,,,Evelyn", "Evelyn"),
        ("entropy,1.16,,,", "entropy,1.16,,,,", "cells"),
        ("gemma,rng-10,entropy,2.28", "gemma,base,entropy,2.28", "repeats"),
    ],
)
def test_a_spoiled_transcript_is_refused_with_one_line(tmp_path, old, new, found):
    text = PUBLISHED.read_text()
    assert old in text
    spoiled = tmp_path / "published.csv"
    spoiled.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=re.escape(found)) as error:
        load_published(spoiled)
    assert str(spoiled) in str(error.value)
    assert "\n" not in str(error.value)


# What stands in a cell


def test_table_4_pairs_base_with_tuning_on_the_prompt_alone(published):
    rng = {"prompt": "numbers/1-10"}
    frame = table_4(
        metrics(
            row("tiny-gemma", "base", "numbers", "entropy", 1.2, **rng),
            row("tiny-gemma", "rng-10", "numbers", "entropy", 2.2, **rng),
            row("tiny-gemma", "only-numbers", "numbers", "entropy", 9.0, **rng),
            row("tiny-gemma", "base", "numbers", "entropy", 9.0),
            row("natural", "natural", "numbers", "entropy", 2.3, **rng),
        ),
        [GEMMA],
        published,
    )
    entropy = frame[frame["metric"] == "entropy"]
    assert entropy["column"].tolist() == ["Baseline", "Tuned", "Natural"]
    assert entropy["value"].tolist() == [1.2, 2.2, 2.3]
    assert entropy["published"].tolist() == [1.16, 2.28, 2.30]
    assert entropy["better"].tolist() == [False, True, False]
    assert frame[frame["metric"] == "coverage"]["value"].isna().all()
    assert set(frame["row"]) == {"RNG"}


def test_rows_follow_the_paper_then_tasks_of_ones_own(published):
    tasks = [
        "zoo",
        "occupations",
        "names",
        "biographies",
        "numbers",
        "fruits",
        "dates",
        "countries",
    ]
    rows = [row("own", "base", task, "coverage", 3.0) for task in tasks]
    rows += [row("own", f"without-{task}", task, "coverage", 4.0) for task in tasks[1:]]
    rows += [row("own", tuning, "zoo", "coverage", 5.0) for tuning in ("all", "only-zoo")]
    frame = table_5_or_6(5, metrics(*rows), [OWN], published)
    titles = [
        "Baby Names",
        "Countries",
        "Fruits",
        "Days and Dates",
        "Numbers",
        "Occupations",
        "zoo",
    ]
    assert list(frame["row"].unique()) == titles
    assert the(frame, row="zoo", column="Ours (OOD)").value == 5.0
    # `all` saw the paper's own tasks, so it never stands for a missing leave-one-out run.
    assert set(frame[frame["column"] == "Ours (OOD)"]["tuning"]) == {
        *(f"without-{task}" for task in tasks if task not in ("zoo", "biographies")),
        "all",
    }


def test_a_task_of_ones_own_that_was_left_out_is_compared_with_that_run(published):
    tunings = ("base", "all", "only-zoo", "without-zoo")
    rows = [row("own", tuning, "zoo", "entropy", 1.0) for tuning in tunings]
    frame = table_5_or_6(6, metrics(*rows), [OWN], published)
    assert frame["tuning"].tolist() == ["base", "without-zoo"]


def test_seeds_are_averaged_and_their_draws_added(published):
    rows = [row("own", "base", "names", "entropy", v, seed=s) for s, v in ((1, 2.0), (2, 3.0))]
    cell = the(table_5_or_6(6, metrics(*rows), [OWN], published), column="Baseline")
    assert (cell.value, cell.n, cell.seeds) == (2.5, 2000, 2)
    with pytest.raises(InputError, match="twice"):
        table_5_or_6(6, metrics(rows[0], rows[0]), [OWN], published)


@pytest.mark.parametrize(
    ("metric", "values", "interval"),
    [
        ("entropy", (2.0, 2.0, 2.0), (1.75, 2.25)),  # what each draw leaves open
        ("entropy", (1.0, 2.0, 3.0), scipy.stats.t.interval(0.95, 2, 2.0, 1 / 3**0.5)),
        ("entropy", (0.0, 2.0, 4.0), (0.0, 2 + scipy.stats.t.ppf(0.975, 2) * 2 / 3**0.5)),
        ("target_mass", (0.2, 0.9, 0.9), (0.0, 1.0)),
        ("unigram_diversity", (0.2, 0.9, 0.9), (0.0, 1.0)),
    ],
)
def test_the_interval_over_seeds_holds_sampling_and_training(metric, values, interval):
    rows = [row("own", "base", "names", metric, v, seed=s) for s, v in enumerate(values)]
    number = mean_over_seeds(metrics(*rows))["own", "base", "names", None, metric]
    low, high = interval
    assert (number.ci_low, number.ci_high) == pytest.approx((max(low, 0.0), high))


def test_only_models_of_the_paper_stand_beside_its_numbers(published):
    rows = [row(m.model, "base", "names", "entropy", 1.0) for m in (GEMMA, MISTRAL, OWN)]
    frame = table_5_or_6(6, metrics(*rows), [GEMMA, MISTRAL, OWN], published)
    base = frame[frame["column"] == "Baseline"]
    assert base["published"].fillna(-1).tolist() == [3.20, 3.24, -1]
    assert base["note"].tolist() == ["", "misprinted", ""]
    assert base["model_label"].tolist() == ["tiny-gemma (stand-in)", "mistral-7b", "own"]


@given(st.floats(0, 6), st.floats(0, 6))
def test_exactly_the_larger_of_a_pair_is_better_unless_they_print_alike(base, tuned):
    paper = load_published(PUBLISHED).head(0)
    rows = (("base", base), ("without-names", tuned))
    frame = table_5_or_6(
        6, metrics(*(row("own", t, "names", "entropy", v) for t, v in rows)), [OWN], paper
    )
    alike = f"{base:.2f}" == f"{tuned:.2f}"
    assert frame["better"].tolist() == [not alike and base > tuned, not alike and tuned > base]


# The files


def rendered(tmp_path: Path, models: list[ModelRecord], rows: list[dict]) -> dict[str, str]:
    records = []
    for i, model in enumerate(models):
        records.append(tmp_path / f"{i}.json")
        records[-1].write_text(json.dumps(vars(model) | {"revision": "x"}))
    write_rows(tmp_path / "metrics.parquet", rows, METRICS)
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"label": "births of 2022 (names_2022)"}))
    out = tmp_path / "tables"
    tables_4_5_6(
        metrics=tmp_path / "metrics.parquet",
        records=records,
        published=PUBLISHED,
        names=names,
        out=out,
    )
    assert len(list(out.iterdir())) == 9
    return {path.name: path.read_text(encoding="utf-8") for path in out.iterdir()}


def test_a_cell_shows_value_interval_and_the_papers_number(tmp_path):
    rows = [row("tiny-gemma", "base", "names", "entropy", 3.0)]
    rows += [row("tiny-gemma", "without-names", "names", "entropy", 5.5)]
    rows += [row("mistral-7b", "base", "names", "entropy", 4.0)]
    files = rendered(tmp_path, [GEMMA, MISTRAL], rows)
    assert "| Baby Names | 3.00 [2.75, 3.25] (paper 3.20) |" in files["table-6.md"]
    assert "| **5.50** [5.25, 5.75] (paper 5.03) |" in files["table-6.md"]
    assert "| 4.00 [3.75, 4.25] (paper 3.24†) | — (paper 5.57†) |" in files["table-6.md"]
    assert "tiny-gemma (stand-in): Ours (OOD)" in files["table-6.md"]
    assert re.search(r"- Stand-ins: tiny-gemma\.", files["table-6.md"])
    assert r"\bfseries 5.50 \newline \mdseries [5.25" in files["table-6.tex"]
    assert r"\mdseries (paper 3.24†)" in files["table-6.tex"]
    assert "tiny-gemma (stand-in)" in files["table-6.tex"]
    frame = pd.read_csv(tmp_path / "tables" / "table-6.csv")
    assert frame["value"].tolist()[:3] == [3.0, 5.5, 4.0]


def test_coverage_of_another_n_says_that_it_does_not_compare(tmp_path):
    ask = {"prompt": "names/english"}
    thousand = [row("tiny-gemma", "base", "names", "coverage", 90.0, **ask)]
    assert "do not compare" not in rendered(tmp_path, [GEMMA], thousand)["table-4.md"]
    files = rendered(tmp_path, [GEMMA], [thousand[0] | {"n": 200}])
    assert "Coverage-200: Baseline" in files["table-4.md"]
    assert "the distinct among 200 answers" in files["table-4.md"]
    assert r"births of 2022 (names\_2022)" in files["table-4.tex"]


def test_without_any_run_tables_are_empty_but_whole(tmp_path):
    files = rendered(tmp_path, [], [])
    assert files["table-5.csv"].startswith("table,row,model")
    assert r"\bottomrule" in files["table-4.tex"]


def test_every_markdown_line_has_as_many_cells_whatever_a_model_is_called(tmp_path):
    hostile = ModelRecord(model="a|b\n| **x** \\| <i> `c", stand_in=False, paper_model=None)
    rows = [row(hostile.model, "base", "names", "coverage", 9.0, prompt="names/english")]
    rows += [row(hostile.model, "base", "names", "coverage", 9.0)]
    files = rendered(tmp_path, [hostile], rows)
    for name in ("table-4.md", "table-5.md"):
        lines = [line for line in files[name].splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines}) == 1
        assert "<i>" not in files[name].replace("\\<i", "")


@given(st.text(st.sampled_from("\\`*_{}[]<>#~|!$&%^@:/.w\n\r\0a") | st.characters()))
def test_no_text_leaves_its_cell(text):
    bare = escape_markdown(text).replace("@<!-- -->", "")
    bare = re.sub(r"\\[\\`*_{}\[\]<>#~|!$&:.]", "", bare)
    assert not set(bare) & set("\\`*_{}[]<>#~|!$&@\n\r")


@given(st.text(st.sampled_from("\\`*_{}[]<>#~|!$&%^@:/.w\n\r\0a") | st.characters(codec="utf-8")))
@settings(max_examples=50, deadline=None)
def test_no_text_leaves_its_cell_in_latex(text):
    def files(text):
        cells = pd.DataFrame({"Model": ["m"], "Base": [text]})
        columns = pd.MultiIndex.from_tuples([("", "Model"), (f"a{text}", text)])
        numbers = cells.assign(Base="1").set_axis(columns, axis=1)
        better = pd.DataFrame(False, index=cells.index, columns=numbers.columns)
        yield latex(Table(1, "T", 1, cells, [text]))
        yield latex(Table(4, "T", 1, numbers, [text], better))

    for written, plain in zip(files(text), files("plain"), strict=True):
        own = r"\\text(backslash|asciitilde|asciicircum) ?(\\space)?|\\[{}$&#%_]"
        own += r"|\\newline|\\mdseries|\\mbox\{\}"
        for sign in "\\{}$&#%~^\n\r":
            assert re.sub(own, "", written).count(sign) == plain.count(sign)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("see https://a.example", r"see https\://a.example"),
        ("WWW.a.example", r"WWW\.a.example"),
        ("me@a.example", "me@<!-- -->a.example"),
        ("at 10:30.", "at 10:30."),
    ],
)
def test_no_address_becomes_a_link(address, shown):
    assert escape_markdown(address) == shown


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ("{", "JSON"),
        ("[]", "[]"),
        ('{"stand_in": true}', "model: missing"),
        ('{"model": "m", "stand_in": "no"}', "'no'"),
        ('{"model": "m", "stand_in": true, "paper_model": "gpt"}', "'gpt'"),
        ('{"model": "m", "stand_in": true, "baseline": "raw"}', "'raw'"),
        ('{"model": "m", "stand_in": true, "baseline": []}', "baseline"),
    ],
)
def test_a_bad_model_record_is_refused(tmp_path, record, found):
    path = tmp_path / "m.json"
    path.write_text(record)
    with pytest.raises(InputError, match=re.escape(found)):
        load_models([path])
    path.write_text('{"model": "m", "stand_in": true}')
    with pytest.raises(InputError, match="given before"):
        load_models([path, path])
