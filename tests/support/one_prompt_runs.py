"""The commands `score` and `diffuse` on a stand-in, and its probabilities by transformers alone."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer

from diffuselm.cli import app

MODEL = Path(__file__).parents[2] / "resources/models/tiny-llama"


def run(command, *words):
    """A command as the command line runs it, but with its errors as they are raised."""
    app([command, *map(str, words)], result_action="return_value")


def table(path):
    head, *lines = path.read_text("utf-8").removesuffix("\n").split("\n")
    rows = [line.split("\t") for line in lines]
    assert head.split("\t")[0] == "answer"
    numbers = np.array([row[1:] for row in rows], dtype=float)
    return [row[0] for row in rows], dict(zip(head.split("\t")[1:], numbers.T, strict=True))


def plain_log_probs(model, prompt, answers):
    """Of each answer and the end token, by transformers alone: a row each, nothing shared."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    asked = [{"role": "user", "content": prompt}]
    opened = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    found = []
    for answer in answers:
        said = [*asked, {"role": "assistant", "content": answer}]
        whole = tokenizer.apply_chat_template(said, tokenize=False)
        ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
        start = len(tokenizer(opened, add_special_tokens=False)["input_ids"])
        assert ids[-1] == model.generation_config.eos_token_id
        with torch.no_grad():
            steps = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        found.append(sum(float(steps[at - 1, ids[at]]) for at in range(start, len(ids))))
    return np.array(found)
