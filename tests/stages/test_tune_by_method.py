"""Stage `tune` by a method: what run.json says, and what makes a checkpoint another's."""

import json

import pytest
from test_resumed_jobs import MODEL, TUNING, ask, job

from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json
from diffuselm.model.opening import open_model
from diffuselm.stages import merge, tune
from records import write_record

NEAR = {"kind": "near-base", "strength": 2.0}
KINDS = [
    {"kind": "hard-labels"},
    {"kind": "soft-labels"},
    {"kind": "ours", "targets": 2},
    {"kind": "full"},
    {"kind": "prefix-tuning", "virtual_tokens": 4},
    {"kind": "prompt-tuning", "virtual_tokens": 4},
]


@pytest.fixture
def folder(tmp_path):
    write_record(tmp_path / "m.json", MODEL)
    ask(tmp_path)
    (tmp_path / "file").touch()
    return tmp_path


def tuned(folder, entry, out, checkpoint="c.safetensors"):
    tune.tune(
        job=job(folder, checkpoint),
        method=json.dumps(entry),
        settings=TUNING,
        checkpoint_seconds=0,
        out=folder / out,
    )
    return (folder / out / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("entry", KINDS, ids=lambda entry: entry["kind"])
def test_the_stage_writes_an_adapter_that_opens(folder, entry):
    tuned(folder, entry, "out")
    made = read_json(folder / "out/run.json")
    assert made["settings"]["method"] == entry
    assert made["tokens"] > 0
    assert made["tuned_parameters"] > 0
    open_model(folder / "m.json", folder / "out")


def test_another_text_to_stay_near_on_is_another_training(folder):
    text = folder / "text.txt"
    text.write_text("One and two and three.\nFour, or five, or six.\n")
    entry = NEAR | {"text": str(text)}
    with pytest.raises(OSError, match="file"):
        tuned(folder, entry, "file/out")  # done, but nowhere to be written
    text.write_text("Seven and eight and nine.\nTen, or eleven.\n")
    taken_up = tuned(folder, entry, "taken-up")
    assert taken_up == tuned(folder, entry, "fresh", "other.safetensors")
    assert "text_sha256" in read_json(folder / "fresh/run.json")["settings"]


def test_an_unknown_key_of_a_method_is_one_line(folder):
    with pytest.raises(InputError, match=r"--method: .*targets") as error:
        tuned(folder, {"kind": "hard-labels", "targets": 3}, "out")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("entry", KINDS[-2:], ids=lambda entry: entry["kind"])
def test_virtual_tokens_are_not_merged_away(folder, entry):
    tuned(folder, entry, "out")
    with pytest.raises(InputError, match="out: its virtual tokens are no weights"):
        merge.merge(model=folder / "m.json", adapter=folder / "out", out=folder / "merged")
    assert not (folder / "merged").exists()
