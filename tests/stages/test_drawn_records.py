"""As many records as asked for, in parts: the same bytes whatever was done before."""

from collections import Counter
from pathlib import Path

import pytest

from diffuselm.config.sample import AnswerSettings
from diffuselm.files.schemas import SAMPLES
from diffuselm.files.tables import read_parts, read_table
from diffuselm.measure.datasets import write_records
from diffuselm.sampling.asking import Asking
from diffuselm.stages import records as stage
from diffuselm.stages.model_jobs import ModelJob
from diffuselm.stages.sample import sample
from diffuselm.tasks.target_sets import write_targets
from records import write_record

ROOT = Path(__file__).parents[2]
TASK = """
record: note
count: 4
fields:
  stars: {values: {1: 1, 5: 3}, given: true}
  mood: {values: [good, bad]}
  text: {}
prompts: {a: {text: "Give <stars> stars."}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The stand-in on record, and the targets of a small task of records."""
    folder = tmp_path_factory.mktemp("drawn")
    write_record(folder / "tiny.json", ROOT / "resources/models/tiny-llama", name="tiny")
    (folder / "notes.yaml").write_text(TASK)
    write_targets(task=folder / "notes.yaml", seed=1, out=folder / "notes.parquet")
    return folder


def job(folder, checkpoint):
    targets = [folder / "notes.parquet"]
    return ModelJob(
        model=folder / "tiny.json", tuning="notes", targets=targets, seed=1, checkpoint=checkpoint
    )


def settings(draws):
    return AnswerSettings(draws={"notes": draws}, max_tokens={"notes": 6})


def draw(folder, out, records=40):
    stage.draw_records(
        job=job(folder, out.parent / "checkpoint"), settings=settings(4), records=records, out=out
    )
    return out.read_bytes()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(stage, "PART", 10)


def test_parts_follow_the_first_answers_and_are_small(folder, tmp_path):
    draw(folder, tmp_path / "all.parquet")
    parts = list(read_parts(tmp_path / "all.parquet", SAMPLES))
    assert [part.num_rows for part in parts] == [6, 10, 10, 6]
    rows = [row for part in parts for row in part.to_pylist()]
    numbers = {p: [r["draw"] for r in rows if r["prompt"] == p] for p in ("notes/a-1", "notes/a-2")}
    assert numbers == {"notes/a-1": list(range(4, 10)), "notes/a-2": list(range(4, 30))}
    assert {row["seed"] for row in rows} == {1}
    # No part repeats another, and none the first answers.
    assert max(Counter(row["logprob"] for row in rows).values()) < 4


@pytest.mark.parametrize("done", [1, 3])
def test_interrupted_after_any_part_it_ends_in_the_same_bytes(folder, tmp_path, monkeypatch, done):
    whole = draw(folder, tmp_path / "undisturbed" / "all.parquet")
    usual, drawn = Asking.samples, []

    def stopping(self, prompts):
        drawn.append(prompts)
        if len(drawn) > done:
            raise KeyboardInterrupt
        return usual(self, prompts)

    monkeypatch.setattr(Asking, "samples", stopping)
    with pytest.raises(KeyboardInterrupt):
        draw(folder, tmp_path / "again" / "all.parquet")
    assert not (tmp_path / "again/all.parquet").exists()
    drawn.clear()
    monkeypatch.setattr(Asking, "samples", lambda *a: drawn.append(1) or usual(*a))
    assert draw(folder, tmp_path / "again" / "all.parquet") == whole
    assert len(drawn) == 4 - done
    assert not (tmp_path / "again/checkpoint").exists()


def test_more_records_begin_with_the_same_whole_parts(folder, tmp_path):
    draw(folder, tmp_path / "few" / "all.parquet", records=40)
    draw(folder, tmp_path / "many" / "all.parquet", records=80)
    few, many = (
        read_table(tmp_path / name / "all.parquet", SAMPLES).to_pylist() for name in ("few", "many")
    )
    second = [row for row in few if row["prompt"] == "notes/a-2" and row["draw"] < 24]
    assert len(second) == 20
    assert [row for row in many if row["prompt"] == "notes/a-2" and row["draw"] < 24] == second


def test_the_dataset_holds_as_many_records_as_asked_for(folder, tmp_path):
    draw(folder, tmp_path / "further.parquet")
    files = {name: tmp_path / f"{name}.parquet" for name in ("samples", "exact", "text")}
    sample(job=job(folder, tmp_path / "sampling"), settings=settings(4), **files)
    write_records(
        samples=files["samples"],
        drawn=[tmp_path / "further.parquet"],
        targets=folder / "notes.parquet",
        records=40,
        out=tmp_path / "notes.parquet",
    )
    whole = {"samples": files["samples"], "targets": folder / "notes.parquet"}
    write_records(**whole, out=tmp_path / "whole.parquet")
    assert len((tmp_path / "whole.jsonl").read_text("utf-8").splitlines()) == 8  # all answers
    lines = (tmp_path / "notes.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 40
    assert [sum(f'"stars": {n}' in line for line in lines) for n in (1, 5)] == [10, 30]
