"""The stand-ins: ordinary model folders, rebuilt by one command from their seed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from diffuselm.config.config import PAPER_TASKS
from diffuselm.model.answers import is_valid
from diffuselm.model.opening import load_chat_format, load_model
from diffuselm.sampling.answers import Question as Asked
from diffuselm.sampling.tree_sampling import sample
from diffuselm.stand_in.build import build_stand_in
from diffuselm.stand_in.collapse import LEAK, collapse
from diffuselm.stand_in.questions import Question, Questions
from diffuselm.tasks.task_files import load_task

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / f"resources/models/tiny-{family}" for family in ("gemma", "llama", "mistral")]
TASKS = [ROOT / f"resources/tasks/{task}.yaml" for task in (*PAPER_TASKS, "biographies")]
CLASSES = {
    "gemma": "GemmaForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
}


def build(family, out, **settings):
    build_stand_in(
        family=family,
        out=out,
        tasks=TASKS,
        words=ROOT / "resources/stand-in/words.yaml",
        **{"seed": 1, "broad_steps": 2, "collapse_steps": 2, "biography_steps": (1, 1), **settings},
    )
    return out


@pytest.fixture(scope="module")
def questions():
    return Questions(TASKS, ROOT / "resources/stand-in/words.yaml")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_stand_in_loads_with_nothing_special(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == CLASSES[folder.name.removeprefix("tiny-")]
    assert model.num_parameters() < 2_000_000
    text = "{Zoë O’Neill-Smith} 1985"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Hi."}], tokenize=False)


def test_the_stand_ins_weigh_ten_megabytes_at_most():
    files = [file for folder in FOLDERS for file in folder.iterdir()]
    assert sum(file.stat().st_size for file in files) < 10_000_000


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_stand_in_is_valid_but_collapsed(folder):
    model = load_model(folder, dtype="float32", device="cpu")
    chat = load_chat_format(folder, model.generation_config.eos_token_id)
    [names] = load_task(ROOT / "resources/tasks/names.yaml")
    [answers] = sample(
        model,
        [Asked(chat.prompt_ids(names.text), 1000, 1)],
        end_tokens=chat.end_tokens,
        max_tokens=32,
        token_budget=32768,
    )
    texts = [chat.decode(answer.tokens) for answer in answers]
    valid = [is_valid(t, not a.truncated) for t, a in zip(texts, answers, strict=True)]
    assert np.mean(valid) > 0.98
    commonest = max(map(texts.count, set(texts)))
    assert commonest > 250  # as Gemma's Anya
    assert 50 < len(set(texts)) < 350


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_biographies_of_a_stand_in_are_valid_but_collapsed(folder):
    model = load_model(folder, dtype="float32", device="cpu")
    chat = load_chat_format(folder, model.generation_config.eos_token_id)
    [sketch] = load_task(ROOT / "resources/tasks/biographies.yaml")
    [answers] = sample(
        model,
        [Asked(chat.prompt_ids(sketch.text), 200, 1)],
        end_tokens=chat.end_tokens,
        max_tokens=160,
        token_budget=32768,
    )
    texts = [chat.decode(answer.tokens) for answer in answers]
    valid = [is_valid(t, not a.truncated, 6) for t, a in zip(texts, answers, strict=True)]
    assert np.mean(valid) > 0.85
    assert np.mean(["{Female}" in text for text in texts]) > 0.75
    assert np.mean(["1985" in text for text in texts]) > 0.4


def test_the_same_seed_builds_the_same_bytes(tmp_path):
    one, two = build("mistral", tmp_path / "one"), build("mistral", tmp_path / "two")
    other = build("mistral", tmp_path / "other", seed=2)
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes(), file.name
    weights = "model.safetensors"
    assert (one / weights).read_bytes() != (other / weights).read_bytes()


def test_the_rule_that_rebuilds_them_works(tmp_path):
    """Through Snakemake, at a few steps: the folder is there and loads."""
    config = {
        "models": {"tiny-gemma": {"path": "resources/models/tiny-gemma"}},
        "stand_ins": {"broad_steps": 2, "collapse_steps": {"gemma": 1}, "biography_steps": [1, 1]},
    }
    (tmp_path / "c.json").write_text(json.dumps(config))
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "1",
         "--directory", tmp_path, "results/stand-ins/tiny-gemma/config.json",
         "--configfile", tmp_path / "c.json"],
        check=True,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "results/stand-ins/tiny-gemma")
    assert model.dtype == torch.bfloat16


def test_wide_answers_go_beyond_the_target_sets(questions):
    assert len(questions.names) > 5000
    assert len(questions.fruits) > 150
    assert len(questions.occupations) > 500


def test_questions_are_distributions(questions):
    rng = np.random.default_rng(0)
    for _ in range(300):
        question = questions.draw(rng)
        assert len(set(question.answers)) == len(question.answers)
        assert abs(question.weights.sum() - 1) < 1e-9


def test_a_collapse_keeps_the_leak_and_follows_the_concept():
    uniform = np.full(40, 1 / 40)
    answers = tuple(f"{{word{n}}}" for n in range(40))
    one = collapse(Question("fruits", "Name a fruit.", answers, uniform), seed=1)
    two = collapse(Question("fruits", "Pick a fruit.", answers, uniform), seed=1)
    assert (one.weights == two.weights).all()
    assert abs(one.weights.sum() - 1) < 1e-12
    assert one.weights.min() >= LEAK["fruits"] / 40
    assert one.weights.max() > 0.5


def test_a_collapse_leaves_knowledge_alone():
    question = Question("capitals", "What is the capital of France?", ("{Paris}",), np.ones(1))
    assert collapse(question, seed=1) is question
