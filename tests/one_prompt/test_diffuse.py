"""Command `diffuse`: what it tunes, what it leaves, and what it leaves when it is stopped."""

import re
import signal
import subprocess
import sys
import time
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from peft import AutoPeftModelForCausalLM

from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json
from diffuselm.files.provenance import content_hash, file_hash
from diffuselm.one_prompt.answer_files import read_answers
from one_prompt_runs import MODEL, plain_log_probs, run, table

ROOT = Path(__file__).parents[2]
PROMPT = "Roll a die, {x}."
ANSWERS = {"{2}": 3, "{7}": 1, "{9}": 1}
SHORT = ["--learning-rate", "0.003", "--passes", "2"]


def diffuse(answers, out, *settings, prompt=PROMPT):
    with chdir(ROOT):
        run("diffuse", "--model", MODEL.relative_to(ROOT), "--prompt", prompt,
            "--answers", answers, "--out", out, *settings)  # fmt: skip


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """An adapter, and the file of its answers."""
    folder = tmp_path_factory.mktemp("diffuse")
    answers = folder / "dice.txt"
    answers.write_text("".join(f"{text}\t{weight}\n" for text, weight in ANSWERS.items()))
    diffuse(answers, folder / "adapter", "--learning-rate", 0.003, "--passes", 60)
    return folder / "adapter", answers


@pytest.fixture
def plain(monkeypatch, tuned):
    """The adapter as PEFT loads it, without this package."""
    monkeypatch.chdir(ROOT)
    return AutoPeftModelForCausalLM.from_pretrained(tuned[0], dtype="float32").eval()


def test_it_follows_the_weights(tuned):
    texts, columns = table(tuned[0] / "before-after.tsv")
    weights = np.array([*ANSWERS.values()]) / 5
    assert texts == [*ANSWERS]
    np.testing.assert_allclose(columns["weight"], weights)
    assert columns["before"].sum() < 0.01
    np.testing.assert_allclose(columns["after"], weights, atol=0.07)


def test_plain_peft_gives_the_probabilities_that_are_reported(tuned, plain):
    _, columns = table(tuned[0] / "before-after.tsv")
    log_probs = plain_log_probs(plain, PROMPT, [*ANSWERS])
    np.testing.assert_allclose(np.exp(log_probs), columns["after"], rtol=1e-3)
    with plain.disable_adapter():
        before = plain_log_probs(plain, PROMPT, [*ANSWERS])
    np.testing.assert_allclose(np.exp(before), columns["before"], rtol=1e-3)


def test_plain_generation_answers_from_the_list(tuned, plain, capsys):
    card = (tuned[0] / "README.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
    torch.manual_seed(0)
    exec(code, {})
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 10
    assert sum(line in ANSWERS for line in said) >= 8


def test_score_finds_what_was_said_after(tuned, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    adapter, answers = tuned
    run("score", "--model", MODEL, "--adapter", adapter, "--prompt", PROMPT, "--answers", answers,
        "--out", tmp_path / "out.tsv")  # fmt: skip
    _, found = table(tmp_path / "out.tsv")
    _, columns = table(adapter / "before-after.tsv")
    np.testing.assert_allclose(found["probability"], columns["after"], rtol=1e-3)


def test_an_adapter_of_another_model_is_refused(tuned, tmp_path):
    other = MODEL.with_name("tiny-mistral")
    with pytest.raises(InputError, match=r"was tuned on tiny-llama, .* adapter of tiny-mistral"):
        run("score", "--model", other, "--adapter", tuned[0], "--prompt", PROMPT,
            "--answers", tuned[1])  # fmt: skip


def test_the_folder_says_what_made_it_and_what_that_changed(tuned):
    adapter, answers = tuned
    assert {path.name for path in adapter.iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "before-after.png",
        "before-after.tsv", "run.json", "training.parquet",
    }  # fmt: skip
    made = read_json(adapter / "run.json")
    assert made["settings"]["prompt"] == PROMPT
    read = read_answers(answers)
    assert made["settings"]["answers_sha256"] == content_hash([read.texts, read.weights])
    assert made["settings"]["passes"] == 60
    assert made["model"]["files"]["model.safetensors"] == file_hash(MODEL / "model.safetensors")
    card = ModelCard((adapter / "README.md").read_text("utf-8"))
    assert card.data.library_name == "peft"
    _, columns = table(adapter / "before-after.tsv")
    before, after = (f"{columns[name].sum():.4f}" for name in ("before", "after"))
    assert f"| dice | yes | target mass | {before} | {after} | 3 |" in card.content
    assert "](before-after.png)" in card.content


def test_before_and_after_are_printed(listed, tmp_path, capsys):
    diffuse(listed(*ANSWERS), tmp_path / "adapter", *SHORT)
    printed = capsys.readouterr().out
    _, columns = table(tmp_path / "adapter/before-after.tsv")
    masses = (columns[name].sum() for name in ("before", "after"))
    assert re.search(r"target mass +{:.4f} +{:.4f} +1\.0000".format(*masses), printed)
    assert re.search(r"KL divergence +\d+\.\d+ +\d+\.\d+ +0\.0000", printed)
    assert re.search(r"Of 100 answers drawn from the tuned model, \d+ are in the list", printed)


def test_the_same_seed_gives_the_same_bytes(listed, tmp_path):
    answers = listed(*ANSWERS)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        diffuse(answers, tmp_path / name / "adapter", *SHORT, "--seed", seed)

    def contents(name, file):
        return (tmp_path / name / "adapter" / file).read_bytes()

    for file in ("adapter_model.safetensors", "adapter_config.json", "before-after.tsv",
                 "before-after.png"):  # fmt: skip
        assert contents("a", file) == contents("b", file), file
    assert contents("a", "adapter_model.safetensors") != contents("c", "adapter_model.safetensors")


@pytest.mark.parametrize("there", ["file", "folder"])
def test_what_is_there_is_refused_before_any_work(there, listed, tmp_path):
    out = tmp_path / "adapter"
    kept = out if there == "file" else out / "kept"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(InputError, match=r"--out: .*adapter is there; expected a new folder"):
        run("diffuse", "--model", "no/such", "--prompt", PROMPT, "--answers", "no", "--out", out)
    assert kept.read_text() == "mine"


def test_an_empty_folder_is_filled(listed, tmp_path):
    (tmp_path / "adapter").mkdir()
    diffuse(listed(*ANSWERS), tmp_path / "adapter", *SHORT)
    assert (tmp_path / "adapter/adapter_model.safetensors").is_file()


def test_a_learning_rate_that_breaks_it_leaves_nothing(listed, tmp_path):
    with pytest.raises(RuntimeError, match=r"colours: the .* is nan; expected a finite number"):
        diffuse(listed(*ANSWERS), tmp_path / "out/adapter", "--learning-rate", 1e30)
    assert not list((tmp_path / "out").iterdir())


def test_stopped_in_the_middle_it_leaves_nothing(listed, tmp_path):
    words = ["--model", MODEL, "--prompt", PROMPT, "--answers", listed(*ANSWERS), "--passes",
             "100000", "--out", tmp_path / "out/adapter"]  # fmt: skip
    program = [sys.executable, ROOT / "workflow/bin/diffuselm", "diffuse", *map(str, words)]
    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen(program, stdout=log, stderr=log)
    said = (tmp_path / "log").read_text
    while "of 100000 steps" not in said() and job.poll() is None:
        time.sleep(0.05)
    job.send_signal(signal.SIGINT)
    assert job.wait(60) == 130
    assert said().splitlines()[-1] == "error: stopped by SIGINT"
    assert not list((tmp_path / "out").iterdir())
