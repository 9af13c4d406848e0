"""A model by its name: of the hub at its newest commit, or a GGUF file that is converted once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from diffuselm.config.models import OpeningSettings
from diffuselm.one_prompt.models import open_named
from gguf_models import byte_level_tokenizer, split_of, write_gguf
from hub_server import COMMIT, REPO, Hub, serving
from one_prompt_runs import MODEL

ROOT = Path(__file__).parents[2]
FILES = {file.name: file.read_bytes() for file in sorted(MODEL.iterdir())}
# An adapter of one step, as fast as it gets.
WORDS = ["--prompt", "Roll a die.", "--passes", "1", "--revision"]


def diffuse(hub, answers, out, revision):
    """The command in a process of its own, which knows of one hub."""
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    home = {"HOME": str(out.parent), "HF_HOME": str(out.parent / "hf"), "HF_ENDPOINT": hub.url}
    program = [sys.executable, ROOT / "workflow/bin/diffuselm", "diffuse", "--model", REPO]
    words = ["--answers", answers, "--out", out, *WORDS, revision]
    return subprocess.run(
        [*map(str, [*program, *words])],
        env={**kept, **home, "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_a_hub_s_model_is_of_a_commit_that_is_said_and_kept(listed, tmp_path):
    with serving(Hub(FILES)) as hub:
        done = diffuse(hub, listed("{7}"), tmp_path / "adapter", "main")
        asked = list(hub.requests)
    assert done.returncode == 0, done.stderr
    assert f"{REPO}: commit {COMMIT}\n" in done.stderr
    # PEFT would ask for the base model's config when it saves the adapter.
    of_config = [method for method, path in asked if path.endswith("/config.json")]
    assert of_config == ["HEAD", "GET"]
    config = (tmp_path / "adapter/adapter_config.json").read_text()
    assert f'"base_model_name_or_path": "{REPO}"' in config
    assert f'"revision": "{COMMIT}"' in config
    card = ModelCard((tmp_path / "adapter/README.md").read_text())
    assert (card.data.base_model, card.data.base_model_relation) == (REPO, "adapter")
    assert f"'{REPO}', revision='{COMMIT}'" in card.content


@pytest.mark.parametrize(
    ("trouble", "found"), [({"gated": True}, "gated; accept its licence"), ({}, "no such revision")]
)
def test_a_model_that_the_hub_does_not_give_is_one_line(listed, tmp_path, trouble, found):
    with serving(Hub(FILES, **trouble)) as hub:
        revision = "main" if trouble else "mian"
        done = diffuse(hub, listed("{7}"), tmp_path / "adapter", revision)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: --model: no folder or file {REPO}, and of the hub: ")
    assert found in line
    assert not (tmp_path / "adapter").exists()


def test_a_gguf_file_is_converted_once_into_the_user_s_cache(
    small_model, tmp_path, monkeypatch, capsys
):
    tokenizer = byte_level_tokenizer(split_of("smollm"))
    model = small_model("Llama", vocab_size=tokenizer.get_vocab_size())
    path = write_gguf(tmp_path / "own.v1.gguf", model, tokenizer, architecture="llama",
                      pre="smollm")  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, again = (open_named(str(path), None, OpeningSettings()) for _ in range(2))
    assert capsys.readouterr().err.count("own.v1.gguf: converting it, once, into ") == 1
    assert first.name == "own.v1"
    assert first.record == again.record
    assert first.record["source"]["file"] == "own.v1.gguf"
    assert Path(first.record["path"]).parent == tmp_path / "cache/diffuselm/gguf"
    path.write_bytes(path.read_bytes() + b"\0")
    assert open_named(str(path), None, OpeningSettings()).record["path"] != first.record["path"]
