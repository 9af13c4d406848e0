"""Tables 1, 2, 3, 7 and 8: counts, draws, the paper's exchanged cells, and text that stays text."""

import csv
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from diffuselm.errors import InputError
from diffuselm.files.schemas import METRICS
from diffuselm.files.tables import write_rows
from diffuselm.paper.biographies import COLUMNS
from diffuselm.paper.comparison import ModelRecord
from diffuselm.paper.published import load_published
from diffuselm.paper.table_files import Table, markdown
from diffuselm.paper.tables_1_2_3 import table_1, table_3, tables_1_2_3
from diffuselm.paper.tables_7_8 import diversity_frame, tables_7_8
from diffuselm.tasks.target_sets import write_targets

PUBLISHED = Path(__file__).parents[2] / "resources" / "paper" / "published.csv"
SHOWN = [name.replace("answer", "text") for name in COLUMNS.names]
LLAMA = ModelRecord(model="tiny-llama", stand_in=True, paper_model="llama-2")
GEMMA = ModelRecord(model="gemma-7b", stand_in=False, paper_model="gemma")
PROMPT = "Tell of a person.\n\n{Name}\n{Gender - Female/Male}  twice"
HOSTILE = (
    "{<script>alert(1)</script>}\n{[x](https://a.example) | y}\r\n{\\input{secret} $x^2$ % gone}\n"
    "{www.a.example and me@a.example}{![i](u)} `code` **bold** \x1b[31m\n# head & \\\\[9cm] ~_~"
    "<br>"
)


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    return load_published(PUBLISHED)


def biography(draw: int, text: str = "{A B}\n{Male}", **fields) -> dict:
    valid = {"first_name": "Ada", "last_name": "Lee", "gender": "Female", "birth_year": 1985}
    valid |= {"birth_place": "Paris, France", "profession": "Judge", "valid": True}
    ids = {"prompt": "biographies/sketch", "seed": 1, "draw": draw, "text": text}
    return dict.fromkeys(SHOWN) | valid | ids | fields


def malformed(draw: int, text: str) -> dict:
    nothing = dict.fromkeys(("first_name", "last_name", "gender", "birth_year"))
    nothing |= dict.fromkeys(("birth_place", "profession"))
    return biography(draw, text, **nothing, valid=False, problem="not six values")


def frame(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=SHOWN)


def measured(tuning: str, field: str, metric: str, value: float, model: str = LLAMA.model) -> dict:
    ids = {"model": model, "tuning": tuning, "task": "biographies", "prompt": "biographies/sketch"}
    ends = {"value": value, "ci_low": value - 1, "ci_high": value + 1}
    return ids | ends | {"field": field, "metric": metric, "n": 990, "seed": 1}


def rendered(
    folder: Path, answers: dict[tuple[str, str], list[dict]], metrics: list[dict], seed: int = 1
) -> dict[str, str]:
    """The texts of all files, from `answers` of the two models."""
    records = []
    for model in (LLAMA, GEMMA):
        records.append(folder / f"{model.model}.json")
        records[-1].write_text(json.dumps(vars(model)))
    paths = []
    for (model, tuning), rows in answers.items():
        paths.append(folder / "biographies" / model / f"{tuning}.parquet")
        write_rows(paths[-1], [row | {"answer": row["text"]} for row in rows], COLUMNS)
    write_rows(folder / "metrics.parquet", metrics, METRICS)
    task = folder / "biographies.yaml"
    task.write_text(yaml.safe_dump({"prompts": {"sketch": {"text": PROMPT, "targets": ["a"]}}}))
    out = folder / "tables"
    given = {"biographies": paths, "records": records, "published": PUBLISHED, "out": out}
    write_targets(task=task, seed=1, out=folder / "targets.parquet")
    tables_1_2_3(**given, targets=folder / "targets.parquet", seed=seed)
    tables_7_8(**given, metrics=folder / "metrics.parquet")
    return {p.name: p.read_bytes().decode() for p in (folder / "tables").iterdir()}


# Table 1


def test_the_most_frequent_valid_values_stand_beside_the_papers(published):
    names = ["Zoe", "Bo", "Bo", "Al", "Cy", "Di", "Ed"]
    rows = [biography(i, first_name=name) for i, name in enumerate(names)]
    rows += [biography(7, first_name="Zoe", valid=False)]
    table = table_1({(LLAMA.model, "base"): frame(*rows)}, [LLAMA], published)
    base = table[(table["tuning"] == "base") & (table["field"] == "first_name")]
    assert base["value"].tolist() == ["Bo", "Al", "Cy", "Di", "Ed"]
    assert base["count"].tolist() == [2, 1, 1, 1, 1]
    assert set(base["n"]) == {7}
    assert base["published"].tolist() == ["Evelyn", "Luna", "Elara", "Adriana", "Aurora"]
    assert base["published_count"].tolist() == [284, 155, 87, 42, 38]
    assert table[table["tuning"] == "all"]["value"].isna().all()


def test_only_the_papers_own_model_stands_beside_its_values(published):
    assert table_1({}, [GEMMA], published)["published"].isna().all()


def test_years_stay_whole_and_absent_runs_leave_a_dash(tmp_path):
    answers = {(LLAMA.model, "base"): [biography(0), malformed(1, "no")]}
    files = rendered(tmp_path, answers, [])
    row = "| tiny-llama (stand-in) | Base | Ada: 1<br>(paper Evelyn: 284) |"
    assert row in files["table-1.md"]
    assert "| 1985: 1<br>(paper 1985: 764) |" in files["table-1.md"]
    assert "(paper Starling: 53) |  | —<br>(paper 1978: 36)" in files["table-1.md"]
    assert "| gemma-7b | Base | — | — | — | — | — | — |" in files["table-1.md"]
    assert (
        "- Valid biographies of tiny-llama (stand-in): Base 1 of 2 (50.0%)."
        in (files["table-1.md"])
    )
    assert "- Stand-ins: tiny-llama." in files["table-1.md"]


# Tables 2 and 3


def test_the_prompt_is_kept_to_the_letter(tmp_path):
    files = rendered(tmp_path, {}, [])
    assert pd.read_csv(tmp_path / "tables" / "table-2.csv")["text"].tolist() == [PROMPT]
    assert r"Tell of a person.<br><br>\{Name\}<br>\{Gender" in files["table-2.md"]
    assert r"person. \newline \mdseries \mbox{} \newline \mdseries \{Name\}" in files["table-2.tex"]


def test_a_draw_depends_on_seed_model_and_tuning_and_on_no_order():
    rows = [biography(i, f"{{{i}}}") for i in range(50)] + [malformed(50, "ill")]

    def drawn(rows: list[dict], seed: int, model: ModelRecord, tuning: str) -> list[str]:
        return table_3({(model.model, tuning): frame(*rows)}, [model], seed)["text"].tolist()

    first = drawn(rows, 1, LLAMA, "base")
    assert len(set(first)) == 5
    assert drawn(rows[::-1], 1, LLAMA, "base") == first
    others = [(2, LLAMA, "base"), (1, GEMMA, "base"), (1, LLAMA, "all")]
    assert all(drawn(rows, *other) != first for other in others)
    assert any("ill" in drawn(rows, seed, LLAMA, "base") for seed in range(60))


def test_few_answers_are_all_shown_side_by_side_a_line_for_each_value(tmp_path):
    answers = {
        (LLAMA.model, "base"): [biography(0, "{Ann Lee} {Female}\n\n{1985}")],
        (LLAMA.model, "biographies"): [malformed(0, "I cannot\rsay")],
    }
    files = rendered(tmp_path, answers, [])
    shown = r"| tiny-llama (stand-in) | \{Ann Lee\}<br>\{Female\}<br>\{1985\} | — | I cannot<br>say"
    assert shown in files["table-3.md"]
    assert (
        r"\{Ann Lee\} \newline \mdseries \{Female\} \newline \mdseries \{1985\} & — & I"
        in files["table-3.tex"]
    )
    with (tmp_path / "tables" / "table-3.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == ["{Ann Lee} {Female}\n\n{1985}", "I cannot\rsay"]
    assert rows[1]["problem"] == "not six values"


# Tables 7 and 8


def test_the_papers_exchanged_coverage_stands_in_its_own_column_and_is_marked(tmp_path, published):
    metrics = [measured("all", "first_name", "coverage", 500.0)]
    metrics += [measured("all", "last_name", "coverage", 600.0)]
    metrics += [measured("all", "first_name", "entropy", 6.0)]
    table = diversity_frame(7, pd.DataFrame(metrics), [LLAMA, GEMMA], published)
    names = table[(table["field"] == "first_name") & (table["model"] == LLAMA.model)]
    coverage = names[names["metric"] == "coverage"]
    assert coverage["column"].tolist() == ["Base", "ID", "OOD"]
    assert coverage["published"].tolist() == [158, 375, 637]
    assert coverage["note"].tolist() == ["", "swapped", "swapped"]
    assert coverage["value"].fillna(-1).tolist() == [-1, -1, 500]
    assert table[table["model"] == GEMMA.model]["published"].isna().all()
    text = rendered(tmp_path, {}, metrics)["table-7.md"]
    first, last = "500 [499, 501] (paper 637†)", "600 [599, 601] (paper 845†)"
    assert f"| — (paper 158) | — (paper 375†) | {first} | — (paper 288) |" in text
    assert f"{last} |" in text
    assert "6.00 [5.00, 7.00] (paper 6.18) |" in text
    assert "- †: the paper prints this coverage under the other of ID and OOD." in text


def test_table_8_has_places_and_professions(tmp_path):
    metrics = [measured("biographies", "profession", "entropy", 4.0)]
    files = rendered(tmp_path, {(LLAMA.model, "all"): [biography(0)]}, metrics)
    head = files["table-8.md"].splitlines()[2]
    assert head == (
        "|  | Model | Birth place: Base | Birth place: ID | Birth place: OOD "
        "| Profession: Base | Profession: ID | Profession: OOD |"
    )
    assert "4.00 [3.00, 5.00] (paper 4.33)" in files["table-8.md"]
    assert "OOD 1 of 1 (100.0%)" in files["table-8.md"]
    assert pd.read_csv(tmp_path / "tables" / "table-8.csv")["n"].dropna().tolist() == [990]


# Hostile text


def test_hostile_answers_inject_nothing(tmp_path):
    answers = {(LLAMA.model, "base"): [biography(0, HOSTILE, first_name=HOSTILE)]}
    files = rendered(tmp_path, answers, [])
    for number in (1, 3):
        assert_plain(files[f"table-{number}.md"])
        latex = files[f"table-{number}.tex"]
        bare = re.sub(r"\\[{}$&#%_]|\{[\[\]*]\}", "", latex)
        assert "input" not in re.findall(r"\\([a-z]+)", bare)
        assert bare.count("{") == bare.count("}")
        assert "$" not in bare
        assert "\x1b" not in latex
    assert HOSTILE in files["table-3.csv"]


@given(st.text(st.sampled_from("<>[]()!|`*_{}\\&@:/.w-#~a \n") | st.characters(codec="utf-8")))
def test_no_text_becomes_markup_in_a_cell(text):
    cells = pd.DataFrame({"a": ["\n".join(text.splitlines())], "b": ["x"]})
    assert_plain(markdown(Table(1, "T", 0, cells, [])))


def assert_plain(text: str) -> None:
    """Parsed as Markdown, the cells hold text and our own breaks only, in whole rows."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inside = [child for token in tokens for child in token.children or ()]
    kinds = {child.type for child in inside} - {"strong_open", "strong_close"}
    assert kinds <= {"text", "html_inline", "text_special"}
    markup = {child.content for child in inside if child.type == "html_inline"}
    assert markup <= {"<br>", "<!-- -->"}
    heads = sum(token.type == "th_open" for token in tokens)
    rows = sum(token.type == "tr_open" for token in tokens) - 1
    assert sum(token.type == "td_open" for token in tokens) == heads * rows
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines}) == 1


# The stages


def test_without_any_run_tables_are_empty_but_whole_and_a_lost_file_is_named(tmp_path):
    files = rendered(tmp_path, {}, [])
    assert len(files) == 15
    assert all(r"\bottomrule" in text for name, text in files.items() if name.endswith(".tex"))
    absent = tmp_path / "m" / "base.parquet"
    given = {"biographies": [absent], "records": [], "published": PUBLISHED, "out": tmp_path}
    with pytest.raises(InputError, match=re.escape(str(absent))):
        tables_1_2_3(**given, targets=tmp_path / "targets.parquet", seed=1)
    with pytest.raises(InputError, match=re.escape(str(absent))):
        tables_7_8(**given, metrics=tmp_path / "metrics.parquet")


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    answers = {(LLAMA.model, "base"): [biography(i, f"{{{i}}}") for i in range(9)]}
    assert rendered(tmp_path, answers, []) == rendered(tmp_path, answers, [])
