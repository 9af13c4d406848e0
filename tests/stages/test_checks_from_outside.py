"""A file that somebody published, from its prompts to table 11, on a stand-in."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from diffuselm.config.outside import OutsideSettings
from diffuselm.config.sample import AnswerSettings
from diffuselm.files.schemas import METRICS, NATURAL
from diffuselm.files.tables import write_rows
from diffuselm.measure.model_metrics import measure_model
from diffuselm.measure.natural import gather_metrics
from diffuselm.paper.tables_11 import tables_11
from diffuselm.stages.model_jobs import ModelJob
from diffuselm.stages.sample import sample
from diffuselm.tasks.outside import write_outside
from diffuselm.tasks.task_files import load_task
from records import write_record

ROOT = Path(__file__).parents[2]
NUMBERS = {prompt.id: prompt for prompt in load_task(ROOT / "resources/tasks/numbers.yaml")}
DRAWS = 400
TEXT = NUMBERS["numbers/1-10"].text
# Of the stand-in's favourites one has an alias, and one is not listed.
LISTED = [["7", "seven"], "3", "4", "5", ["six", "6"], "8", "1"]
FILES = {
    "listed": ("listed.json", json.dumps({TEXT: {"answers": LISTED, "category": "number"}})),
    "braced": ("braced.json", json.dumps({TEXT.split(",")[0]: LISTED})),
    "prompts": ("prompts.jsonl", json.dumps({"id": 1, "prompt": TEXT})),
}
BRACED = {"after_prompt": "Like this: {number}.", "whole_answers": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    write_record(folder / "tiny.json", ROOT / "resources/models/tiny-llama", name="tiny")
    write_rows(folder / "natural.parquet", [], NATURAL)
    for task, (name, content) in FILES.items():
        (folder / name).write_text(content)
        settings = OutsideSettings(file=folder / name, **(BRACED if task == "braced" else {}))
        write_outside(task=task, settings=settings, out=folder / f"targets/{task}.parquet")
    targets = [folder / f"targets/{task}.parquet" for task in FILES]
    files = {kind: folder / f"{kind}/tiny/base.parquet" for kind in ("samples", "exact", "text")}
    settings = AnswerSettings(
        draws=dict.fromkeys(FILES, DRAWS),
        max_tokens=dict.fromkeys(FILES, 24),
        token_budget=16384,
        pass_budget=2048,
    )
    job = ModelJob(
        model=folder / "tiny.json",
        tuning="base",
        targets=targets,
        seed=1,
        checkpoint=folder / "checkpoint",
    )
    sample(job=job, settings=settings, **files)
    known = {"targets": targets, "natural": folder / "natural.parquet", "seed": 1}
    of_one = {kind: [file] for kind, file in files.items()}
    measured = folder / "tiny.parquet"
    measure_model(**of_one, adapters=[], sweep=[], **known, out=measured)
    gather_metrics(measured=[measured], draws=DRAWS, **known, out=folder / "metrics.parquet")
    shown = {"model": "tiny", "stand_in": True, "paper_model": None, "baseline": "base"}
    (folder / "shown.json").write_text(json.dumps(shown))
    records = [folder / "shown.json"]
    tables_11(metrics=folder / "metrics.parquet", records=records, targets=targets, out=folder)
    return folder


@pytest.fixture(scope="module")
def drawn(run):
    samples = pq.read_table(run / "samples/tiny/base.parquet").to_pandas()
    return dict(list(samples.groupby(samples["prompt"].str.partition("/")[0])))


@pytest.fixture(scope="module")
def exact(run):
    return pq.read_table(run / "exact/tiny/base.parquet").to_pandas().set_index("target")


@pytest.fixture(scope="module")
def metrics(run):
    table = pq.read_table(run / "metrics.parquet", schema=METRICS).to_pandas()
    return table[table["prompt"].isna()].set_index(["task", "metric"])["value"]


def test_a_listed_answer_is_as_frequent_as_the_sum_over_its_spellings_says(drawn, exact):
    own = exact[exact["prompt"] == "listed/1"]
    assert list(own.index) == ["7", "3", "4", "5", "six", "8", "1"]
    spelled = [f"{{{text}}}" for text in ("7", "3", "4", "5", "6", "8", "1")]
    texts = drawn["listed"]["text"].str.strip()
    for text, p in zip(spelled, own["probability"], strict=True):
        error = 4.5 * np.sqrt(p * (1 - p) / DRAWS) + 1 / DRAWS
        assert (texts == text).mean() == pytest.approx(p, abs=error)
    assert own["probability"].sum() > 0.3


def test_an_alias_counts_as_its_answer(drawn, metrics):
    answers = drawn["listed"]
    of_six = answers["value"][answers["text"].str.strip() == "{6}"]
    assert set(of_six) == {"six"}
    found = set(answers["value"]) & {"7", "3", "4", "5", "six", "8", "1"}
    assert metrics["listed", "recall"] == pytest.approx(len(found) / 7)


def test_exact_recall_is_what_choices_of_ten_draws_find_on_average(drawn, metrics):
    values = drawn["listed"]["value"].to_numpy()
    of_ten = values.reshape(-1, 10)
    listed = {"7", "3", "4", "5", "six", "8", "1"}
    counted = [len(listed & set(ten)) / 7 for ten in of_ten]
    error = 4 * np.std(counted) / np.sqrt(len(counted))
    assert metrics["listed", "recall_10"] == pytest.approx(np.mean(counted), abs=error)
    assert metrics["listed", "recall_10"] < metrics["listed", "recall_1000"] <= 1


def test_where_answers_are_in_braces_only_such_count(drawn, exact):
    answers = drawn["braced"]
    braced = answers["text"].str.contains(r"\{[^{}]*\w[^{}]*\}")
    assert answers["value"].notna().tolist() == braced.tolist()
    assert set(exact["prompt"]) == {"listed/1", "braced/1"}


def test_prompts_without_answers_have_spread_and_no_targets(drawn, metrics):
    assert {"recall", "kl", "target_rate"}.isdisjoint(metrics["prompts"].index)
    distinct = drawn["prompts"]["value"].fillna(drawn["prompts"]["text"]).nunique()
    assert metrics["prompts", "coverage"] == distinct
    assert 1 < metrics["prompts", "distinct_10"] < 10


def test_the_table_has_each_task_and_its_own_measures(run):
    lines = (run / "table-11.md").read_text().splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| ")]
    assert rows[0] == ["| Task", "Model", "Measure", "Base |"]
    assert [row[0] for row in rows[2:] if row[0] != "| "] == [
        "| listed<br>1 prompt<br>answers whole",
        "| braced<br>1 prompt<br>answers in braces",
        "| prompts<br>1 prompt<br>answers whole",
    ]
    assert [row[2] for row in rows[2:9]] == [
        *("recall of 10 answers", "recall of 1,000 answers", "recall of the 400 drawn"),
        *("KL divergence (nats)", "target mass", "on target, of the 400 drawn", "valid rate"),
    ]
    assert [row[2] for row in rows[16:]] == [
        *("distinct of 10 answers", "distinct of the 400 drawn", "entropy (nats)", "valid rate"),
    ]
    frame = pd.read_csv(run / "table-11.csv")
    assert frame.groupby("task")["listed"].first().to_dict() == {
        "braced": True, "listed": True, "prompts": False,
    }  # fmt: skip
    assert frame["value"].notna().all()
    assert (run / "table-11.tex").is_file()
