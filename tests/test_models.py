"""The record of a model: a folder that cannot be used is one line, before anything is trained."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from diffuselm.errors import InputError
from diffuselm.models import load_model
from diffuselm.provenance import file_hash, read_json
from diffuselm.stages.model import run

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(ROOT / "resources/models/tiny-llama", tmp_path / "model")


def record(folder):
    out = folder.parent / "record.json"
    run(name="own", path=folder, stand_in=False, paper_model=None, out=out)
    return read_json(out)


def test_the_record_holds_the_hash_of_every_file_that_decides_an_answer(folder):
    files = record(folder)["files"]
    assert set(files) == {path.name for path in folder.iterdir()}
    assert files["model.safetensors"] == file_hash(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        ("config.json", "config.json: not readable as JSON"),
        ("model.safetensors", r"no \*\.safetensors file"),
        ("tokenizer.json", "no tokenizer.json or tokenizer.model"),
        ("chat_template.jinja", "no chat template"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused(folder, missing, line):
    (folder / missing).unlink()
    with pytest.raises(InputError, match=line) as error:
        record(folder)
    assert "\n" not in str(error.value)
    assert not (folder.parent / "record.json").exists()


def test_a_model_that_never_ends_an_answer_is_refused(folder):
    (folder / "generation_config.json").write_text("{}")
    with pytest.raises(InputError, match="no eos_token_id"):
        record(folder)


def test_a_config_that_is_no_object_is_refused(folder):
    (folder / "config.json").write_text("[1]")
    with pytest.raises(InputError, match="holds a list; expected a JSON object"):
        record(folder)


def test_weights_cut_short_are_one_line(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(folder, dtype="float32", device="cpu")


def test_the_command_line_ends_in_one_line_and_a_non_zero_exit(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "workflow/bin/diffuselm", "model", "--name", "own",
         "--path", tmp_path / "nowhere", "--out", tmp_path / "record.json"],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert json.dumps(str(tmp_path / "nowhere"))[1:-1] in done.stderr
