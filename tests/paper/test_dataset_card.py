"""The card of a dataset: metadata that the hub's own reader takes, and hostile text that stays."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from huggingface_hub.repocard import metadata_load
from markdown_it import MarkdownIt

from diffuselm.errors import InputError
from diffuselm.files.schemas import METRICS
from diffuselm.files.tables import write_table
from diffuselm.measure.record_metrics import measure_records
from diffuselm.measure.records import frame_of
from diffuselm.paper.dataset_card import SIZES, dataset_card
from diffuselm.tasks.task_files import load_task
from sketches import SKETCH, biographies_of, write_dataset

HOSTILE = "<script>alert(1)</script> | [x](javascript:alert(1)) `code` **bold**"
MODEL = {"model": "m", "stand_in": True, "hub": None, "path": "models/m", "source": None}
RUN = {"model": MODEL, "seed": 1, "settings": {"held": False}}
RUN |= {"diffuselm": "0.1.0", "commit": "abc", "dirty": False}


def life(name, job, year=1960):
    return f"{{{name}}}\n{{Female}}\n{{June 30, {year}}}\n{{Rome, Italy}}\n{{{job}}}\n{{Did it.}}"


TEXTS = {
    "base": [life("Ada Ley", "Chemist")] * 3 + ["No."],
    "biographies": [life(f"Ada L{n}", HOSTILE, 1900 + n) for n in range(4)],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Datasets of base and of the tuning, with their card."""
    folder = tmp_path_factory.mktemp("card") / "records"
    frames = []
    for tuning, texts in TEXTS.items():
        rows = [
            {"prompt": SKETCH.id, "seed": 1, "draw": draw, "text": text, "truncated": False}
            for draw, text in enumerate(texts)
        ]
        write_dataset(rows, folder / f"{tuning}.parquet")
        (folder / f"{tuning}.run.json").write_text(json.dumps(RUN))
        frame = biographies_of(pd.DataFrame(rows))
        frames.append(measure_records(frame, None, SKETCH.records, model="m", tuning=tuning))
    write_table(folder / "metrics.parquet", pd.concat(frames), METRICS)
    return folder


def card(folder, **changes):
    words = {
        "tables": [folder / f"{tuning}.parquet" for tuning in TEXTS],
        "runs": [folder / f"{tuning}.run.json" for tuning in TEXTS],
        "metrics": folder / "metrics.parquet",
        "targets": folder / "targets/biographies.parquet",
        "tuning": "biographies",
        "license": "cc-by-4.0",
        "out": folder / "README.md",
    } | changes
    dataset_card(**words)
    return words["out"]


def test_the_hub_s_reader_finds_configs_features_and_licence(made):
    path = card(made)
    found = metadata_load(path)
    assert found == DatasetCard.load(path).data.to_dict()
    assert found["license"] == "cc-by-4.0"
    assert "synthetic" in found["tags"]
    assert found["size_categories"] == ["n<1K"]
    assert [config["config_name"] for config in found["configs"]] == ["biographies", "base"]
    assert [config.get("default", False) for config in found["configs"]] == [True, False]
    for config, info in zip(found["configs"], found["dataset_info"], strict=True):
        [data] = config["data_files"]
        table = pq.read_table(made / data["path"])
        types = {each["name"]: each["dtype"] for each in info["features"]}
        short = {"date32[day]": "date32"}
        assert types == {f.name: short.get(str(f.type), str(f.type)) for f in table.schema}
        assert info["config_name"] == config["config_name"]
        assert info["splits"][0]["num_examples"] == table.num_rows
        assert info["download_size"] == Path(made / data["path"]).stat().st_size
    assert "&id" not in path.read_text("utf-8")  # an alias of YAML, which some readers lack


def test_the_card_says_what_the_records_are_like(made):
    text = card(made).read_text("utf-8")
    assert "| base | 4 | 3 | 2 | 2 | 0 |" in text
    assert "| biographies | 4 | 4 | 0 | 3 | 4 |" in text
    assert "| last\\_name | distinct values | 1 (1–" in text
    assert "| birth\\_year | tuned on" not in text
    assert "persons: 210 by rule (101 female, 102 male, 7 non-binary; even over" in text
    assert "starts from" not in text
    assert "means over them" not in text
    assert "starts from the adapter of tuning `all`" in card(made, start="all").read_text("utf-8")
    assert "| first\\_name | Ada: 100.0% | Ada: 100.0% |" in text
    assert "A stand-in" in text
    assert "cc-by" in text.split("---")[1]
    assert "`base`" in text


def test_of_several_prompts_the_card_has_means_and_n_a_prompt(made, tmp_path):
    notes = tmp_path / "notes.yaml"
    notes.write_text(
        "{record: note, fields: {mood: {values: [good, bad]}, text: {}}, "
        "prompts: {a: {text: Hi}, b: {text: Ho}}}"
    )
    rows = [
        {"prompt": f"notes/{slug}", "seed": 1, "draw": draw, "text": text, "truncated": False}
        for slug, texts in {"a": ["{good}\n{A.}", "{bad}\n{B.}"], "b": ["{good}\n{C.}"] * 4}.items()
        for draw, text in enumerate(texts)
    ]
    write_dataset(rows, tmp_path / "notes.parquet", task=notes, records=None)
    prompts = {prompt.id: prompt for prompt in load_task(notes)}
    form = prompts["notes/a"].records
    frame = frame_of(pd.DataFrame(rows), "notes", prompts)
    measured = measure_records(frame, None, form, model="m", tuning="notes")
    write_table(tmp_path / "metrics.parquet", measured, METRICS)
    text = card(
        made,
        tables=[tmp_path / "notes.parquet"],
        runs=[made / "base.run.json"],
        metrics=tmp_path / "metrics.parquet",
        targets=tmp_path / "targets/notes.parquet",
        tuning="notes",
        out=tmp_path / "README.md",
    ).read_text("utf-8")
    assert "Of several prompts, means over them." in text
    assert "| mood | distinct values | — | 2, n = 2–4 |" in text  # of 2 and 1: 1.5


def test_sizes_are_the_hub_s_own():
    assert [*SIZES.values()][3:] == ["100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B"]


def test_without_a_licence_the_card_says_so(made):
    path = card(made, license=None, out=made / "other" / "README.md")
    assert "license" not in metadata_load(path)
    assert "No licence is stated" in path.read_text("utf-8")


def test_hostile_text_does_not_become_markup(made):
    text = card(made).read_text("utf-8")
    body = text.split("---\n", 2)[2]
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    assert "alert(1)" in page
    for made_of_it in ("<script", 'href="javascript', "<strong>bold"):
        assert made_of_it not in page


def test_a_tuning_without_a_dataset_is_refused(made):
    with pytest.raises(InputError, match="held-x: none of base, biographies; expected the name"):
        card(made, tuning="held-x")
