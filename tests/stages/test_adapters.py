"""Adapters in other hands: PEFT, transformers and its server get of them what was measured here."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from huggingface_hub import ModelCard
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from scipy.stats import chisquare
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from diffuselm.cli import app
from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json
from diffuselm.files.provenance import file_hash
from diffuselm.files.schemas import METRICS
from diffuselm.files.tables import write_rows
from diffuselm.model.adapters import open_adapter
from diffuselm.model.encoding import encode_prompts
from diffuselm.model.opening import load_model, open_model
from diffuselm.tasks.task_files import load_task
from diffuselm.tree.layouts import Packed, Padded, score

ROOT = Path(__file__).parents[2]
BASE = Path("resources/models/tiny-llama")
TASK = "resources/tasks/numbers.yaml"
PROMPT = "numbers/1-10"
QUESTION = "Roll a die, {x}."
TUNE = ["--tuning", "rng-10", "--learning-rate", 0.003, "--passes", 40, "--seed", 1]


def diffuselm(command, *words):
    """Run a command as the command line does, but with its errors as they are raised."""
    app([command, *map(str, words)], result_action="return_value")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """An adapter of a stand-in, tuned on random numbers by the real stages."""
    out = tmp_path_factory.mktemp("results")
    with chdir(ROOT):
        diffuselm("targets", "--task", TASK, "--seed", 1, "--out", out / "numbers.parquet")
        named = ["--name", "tiny-llama", "--path", BASE, "--stand-in"]
        diffuselm("record", *named, "--out", out / "record.json")
        asked = ["--targets", out / "numbers.parquet", "--prompts", PROMPT]
        saved = ["--checkpoint", out / "checkpoint", "--out", out / "adapter"]
        diffuselm("tune", "--model", out / "record.json", *asked, *TUNE, *saved)
    return out


@pytest.fixture(scope="module")
def merged(results):
    return merge(results / "record.json", results / "adapter", results / "merged")


@pytest.fixture(autouse=True)
def at_the_project_s_root(monkeypatch):
    """Where the relative path of the base model starts."""
    monkeypatch.chdir(ROOT)


def merge(record, adapter, out):
    with chdir(ROOT):
        diffuselm("merge", "--model", record, "--adapter", adapter, "--out", out)
    return out


def question(results, opened):
    (encoded,) = encode_prompts(opened.chat, [results / "numbers.parquet"], [PROMPT])
    return encoded


def plain_log_probs(results, model):
    """Of the ten targets, a row each, as any model gives them."""
    asked = question(results, open_model(results / "record.json"))
    return score(model.eval(), asked.tokens, asked.tree, Padded(), 4096)


@pytest.fixture(scope="module")
def expected(results):
    """The targets' log-probabilities as this project has them: tuned, and of the base model."""
    with chdir(ROOT):
        pair = []
        for adapter in (results / "adapter", None):
            opened = open_model(results / "record.json", adapter)
            asked = question(results, opened)
            pair.append(score(opened.model, asked.tokens, asked.tree, Packed(), 4096))
    tuned, base = pair
    assert np.abs(tuned - base).max() > 1
    return tuned, base


def changed(path, out, **changes):
    """A JSON file with some of its values replaced; keys of inner objects after `__`."""
    record = read_json(path)
    for name, value in changes.items():
        *outer, last = name.split("__")
        inner = record
        for key in outer:
            inner = inner[key]
        inner[last] = value
    out.write_text(json.dumps(record))
    return out


# As PEFT and transformers load it


def test_peft_loads_an_adapter_with_its_base_model_and_gives_the_same_probabilities(
    results, expected
):
    model = AutoPeftModelForCausalLM.from_pretrained(results / "adapter", dtype="float32")
    np.testing.assert_allclose(plain_log_probs(results, model), expected[0], atol=1e-4)


def test_the_documented_code_gives_the_probabilities_that_are_reported(results, expected):
    """Without the dtype it would open the stand-in's weights in bfloat16, as they are stored."""
    readme = (ROOT / "docs/running.md").read_text()
    (code,) = re.findall(r"```python\n(from peft .*?)\n```", readme, re.DOTALL)
    folder = '"results/adapters/tiny-llama/all"'
    assert folder in code
    found = {}
    exec(code.replace(folder, repr(str(results / "adapter"))), found)
    np.testing.assert_allclose(plain_log_probs(results, found["model"]), expected[0], atol=1e-4)


def test_transformers_alone_load_it_too(results, expected):
    model = AutoModelForCausalLM.from_pretrained(results / "adapter", dtype="float32")
    np.testing.assert_allclose(plain_log_probs(results, model), expected[0], atol=1e-4)


def answers(model, chat, tokens, draws, batch=256):
    """What plain `generate` answers, at temperature 1 from all of the distribution."""
    torch.manual_seed(0)
    prompt = torch.tensor([list(tokens)] * batch)
    asked = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        eos_token_id=list(chat.end_tokens),
        pad_token_id=chat.end_tokens[0],
        max_new_tokens=8,
    )
    texts = []
    while len(texts) < draws:
        rows = model.generate(**asked)[:, len(tokens) :]
        texts += chat.tokenizer.batch_decode(rows, skip_special_tokens=True)
    return texts


def fit(texts, targets, log_probs):
    """The p-value of the answers, the targets' and the rest, under exact probabilities."""
    counts = [texts.count(f"{{{target}}}") for target in targets]
    wanted = np.exp(log_probs)
    observed = [*counts, len(texts) - sum(counts)]
    return chisquare(observed, len(texts) * np.array([*wanted, 1 - wanted.sum()])).pvalue


def test_plain_generation_has_the_distribution_that_the_exact_probabilities_say(results, expected):
    tuned = AutoPeftModelForCausalLM.from_pretrained(results / "adapter", dtype="float32")
    opened = open_model(results / "record.json")
    asked = question(results, opened)
    drawn = answers(tuned, opened.chat, asked.tokens, 1024)
    assert fit(drawn, asked.targets, expected[0]) > 0.001
    before = answers(opened.model, opened.chat, asked.tokens, 256)
    assert fit(before, asked.targets, expected[0]) < 1e-9


def test_the_card_s_code_runs_as_it_stands(results, capsys):
    write_rows(results / "metrics.parquet", [], METRICS)
    diffuselm(
        "model-cards", "--runs", results / "adapter/run.json", "--metrics",
        results / "metrics.parquet", "--targets", results / "numbers.parquet",
    )  # fmt: skip
    lines = ran((results / "adapter/README.md").read_text(), capsys)
    assert len(lines) == 10
    assert len({line for line in lines if re.fullmatch(r"\{([1-9]|10)\}", line)}) > 3


def ran(card, capsys):
    """The lines that the code of a model card prints."""
    (code,) = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
    torch.manual_seed(0)
    exec(code, {})
    return capsys.readouterr().out.splitlines()


# Merged


def test_a_merged_folder_has_the_same_probabilities(results, merged, expected):
    model = AutoModelForCausalLM.from_pretrained(merged)
    assert model.dtype == torch.float32
    np.testing.assert_allclose(plain_log_probs(results, model), expected[0], atol=1e-4)


def test_a_merged_folder_is_safetensors_alone_and_samples_as_measured(results, merged):
    assert {path.name for path in merged.iterdir()} == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    how = GenerationConfig.from_pretrained(merged)
    assert (how.do_sample, how.temperature, how.top_k, how.top_p) == (True, 1.0, 0, 1.0)
    opened = open_model(results / "record.json")
    assert how.eos_token_id == list(opened.chat.end_tokens)
    asked = [{"role": "user", "content": QUESTION}]
    ids = AutoTokenizer.from_pretrained(merged).apply_chat_template(
        asked, add_generation_prompt=True
    )["input_ids"]
    assert ids == opened.chat.prompt_ids(QUESTION)


def test_the_code_of_a_merged_folder_s_card_needs_but_the_question(results, merged, capsys):
    card = (merged / "README.md").read_text()
    assert ModelCard(card).data.library_name == "transformers"
    assert file_hash(results / "adapter/adapter_model.safetensors") in card
    lines = ran(card.replace("'...'", repr(load_task(Path(TASK))[0].text)), capsys)
    assert len({line for line in lines if re.fullmatch(r"\{([1-9]|10)\}", line)}) > 3


def test_merging_is_in_float32_whatever_type_it_ends_in(results, merged, tmp_path):
    adapter = shutil.copytree(results / "adapter", tmp_path / "adapter")
    changed(adapter / "run.json", adapter / "run.json", settings__dtype="bfloat16")
    half = merge(results / "record.json", adapter, tmp_path / "half")
    halves = load_file(half / "model.safetensors")
    for name, whole in load_file(merged / "model.safetensors").items():
        assert torch.equal(halves[name], whole.to(torch.bfloat16)), name
    assert AutoModelForCausalLM.from_pretrained(half).dtype == torch.bfloat16


def test_a_merged_folder_asks_as_the_record_says(results, tmp_path):
    template = (
        "{{ mood }}, {{ strftime_now('%d') }}: {% for m in messages %}{{ m.content }}{% endfor %}"
    )
    told = {"mood": 'very "calm" {% \N{GRINNING FACE}', "date_string": "26 July 2024", "n": 1.5}
    record = changed(
        results / "record.json",
        tmp_path / "record.json",
        settings__chat_template=template + "{{ n }}",
        settings__template_args=told,
        settings__end_tokens=["<s>"],
    )
    out = merge(record, results / "adapter", tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(out)
    asked = [{"role": "user", "content": QUESTION}]
    text = tokenizer.apply_chat_template(asked, tokenize=False)
    assert text == f"{told['mood']}, 26 July 2024: {QUESTION}1.5"
    assert text == open_model(record).chat.prompt_text(QUESTION)
    assert tokenizer.apply_chat_template(asked, tokenize=False, n=2) == text.replace("1.5", "2")
    ends = GenerationConfig.from_pretrained(out).eos_token_id
    assert ends == [tokenizer.convert_tokens_to_ids("<s>")]


def test_what_cannot_be_merged_is_refused_in_one_line(results, tmp_path):
    record, other = results / "record.json", tmp_path / "record.json"
    for line, changes in {
        "four_bit: true; expected false": {"settings__four_bit": True},
        "tuned on tiny-llama, with files of other SHA-256": {"files": {}},
    }.items():
        with pytest.raises(InputError, match=line) as error:
            merge(changed(record, other, **changes), results / "adapter", tmp_path / "merged")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "merged").exists()


@pytest.fixture
def served(merged, tmp_path):
    """The URL of `transformers serve` on the merged folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        Path(sys.executable).with_name("transformers"), "serve", merged.name, "--device", "cpu",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=merged.parent, env=offline, stdout=log, stderr=log)
    try:
        for _ in range(240):
            try:
                requests.get(f"http://127.0.0.1:{port}/health", timeout=5).raise_for_status()
                break
            except requests.RequestException:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.25)
        yield f"http://127.0.0.1:{port}/v1/chat/completions"
    finally:
        server.terminate()
        server.wait(20)


def test_a_server_answers_from_a_merged_folder_as_diffusely(results, merged, served):
    text = load_task(Path(TASK))[0].text
    said = []
    for seed in range(20):
        asked = {"messages": [{"role": "user", "content": text}], "model": merged.name}
        reply = requests.post(served, json={**asked, "seed": seed}, timeout=60)
        said.append(reply.json()["choices"][0]["message"]["content"])
    numbers = [line for line in said if re.fullmatch(r"\{([1-9]|10)\}", line)]
    # As many of the ten as 20 draws from all ten alike bring, and the base model's do not.
    assert len(numbers) >= 18, said
    assert len(set(numbers)) >= 8, said


# Damaged


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_adapter_is_refused_in_one_line(results, tmp_path, damage):
    adapter = shutil.copytree(results / "adapter", tmp_path / "adapter")
    weights = adapter / "adapter_model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-100] ^= 1
    weights.write_bytes(raw if damage == "flipped" else raw[:-100])
    with pytest.raises(InputError, match=r"adapter_model\.safetensors: SHA-256 is ") as error:
        open_adapter(load_model(BASE, dtype="float32"), adapter)
    assert "\n" not in str(error.value)
