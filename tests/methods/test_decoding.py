"""Other ways to draw: the very distributions of transformers' own, and exact on the tree."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from diffuselm.methods.min_p import MinP
from diffuselm.methods.temperature import Temperature
from diffuselm.methods.top_k import TopK
from diffuselm.methods.top_p import TopP
from diffuselm.methods.typical import Typical
from diffuselm.sampling.answers import Question
from diffuselm.sampling.tree_sampling import sample
from diffuselm.tree.layouts import Packed, score
from diffuselm.tree.prefix_tree import build

ROOT = Path(__file__).parents[2]
PROMPT, END, LENGTH = [3, 4, 5, 6], 2, 3
PAIRS = [
    (TopK(k=3), TopKLogitsWarper(3)),
    (TopP(p=0.9), TopPLogitsWarper(0.9)),
    (TopP(p=0.5), TopPLogitsWarper(0.5)),
    (MinP(p=0.1), MinPLogitsWarper(0.1)),
    (MinP(p=0.5), MinPLogitsWarper(0.5)),
    (Typical(p=0.9), TypicalLogitsWarper(0.9)),
    (Typical(p=0.3), TypicalLogitsWarper(0.3)),
    (Temperature(temperature=2), TemperatureLogitsWarper(2.0)),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("spread", [0.1, 1.0, 6.0])
def test_the_same_tokens_are_kept_as_by_transformers(ours, theirs, spread):
    """From nearly even to nearly certain logits, of a small vocabulary and a larger one."""
    rng = torch.Generator().manual_seed(1)
    for vocabulary in (5, 300):
        logits = torch.randn((40, vocabulary), generator=rng) * spread
        found, expected = ours.warp(logits.clone()), theirs(None, logits.clone())
        assert torch.equal(found.isfinite(), expected.isfinite())
        torch.testing.assert_close(found.softmax(-1), expected.softmax(-1))


def test_a_sure_token_is_kept_alone():
    logits = torch.tensor([[0.0, 80.0, 0.0]])
    for ours, _ in PAIRS[:-1]:
        kept = ours.warp(logits).isfinite()[0]
        assert kept[1]
        assert not isinstance(ours, TopP | MinP | Typical) or kept.sum() == 1


def answers_of(model, keep):
    """Every answer of up to LENGTH tokens: all that end, and those that are cut off."""
    vocabulary = model.config.vocab_size
    others = [token for token in range(vocabulary) if token != END]
    whole, open_ended = [], [()]
    for _ in range(LENGTH):
        whole += [(*tokens, END) for tokens in open_ended]
        open_ended = [(*tokens, token) for tokens in open_ended for token in others]
    return whole + open_ended if keep else whole


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (TopP(p=0.9), {"top_p": 0.9}),
        (MinP(p=0.1), {"min_p": 0.1}),
        (Typical(p=0.9), {"typical_p": 0.9}),
    ],
    ids=["top-p", "min-p", "typical"],
)
def test_exact_probabilities_are_the_frequencies_of_20000_answers_of_generate(
    small_model, ours, theirs
):
    model = small_model("Llama", vocab_size=7)
    answers = answers_of(model, keep=False)
    tree = build(answers, np.full(len(answers), 1 / len(answers)))
    exact = np.exp(score(model, PROMPT, tree, Packed(), 4096, warp=ours.warp))
    torch.manual_seed(1)
    rows = model.generate(
        torch.tensor([PROMPT] * 20_000),
        attention_mask=torch.ones((20_000, len(PROMPT)), dtype=torch.long),
        do_sample=True,
        max_new_tokens=LENGTH,
        eos_token_id=END,
        pad_token_id=0,
        **{"temperature": 1.0, "top_k": 0, "top_p": 1.0} | theirs,
    )[:, len(PROMPT) :].tolist()
    drawn = [tuple(row[: row.index(END) + 1]) if END in row else None for row in rows]
    [own] = sample(
        model,
        [Question(PROMPT, 20_000, 1)],
        end_tokens=(END,),
        max_tokens=LENGTH,
        token_budget=4096,
        warp=ours.warp,
    )
    assert 0.05 < exact.sum() < 0.95  # some end, and some are cut off
    assert (exact == 0).any()  # some are barred
    for found in (drawn, [None if answer.truncated else answer.tokens for answer in own]):
        counts = Counter(found)
        assert not [a for a, p in zip(answers, exact, strict=True) if p == 0 and counts[a]]
        observed = [*(counts[answer] for answer in answers), counts[None]]
        expected = [*exact * 20_000, (1 - exact.sum()) * 20_000]
        likely = np.array(expected) >= 5
        table = [[*np.array(each)[likely], np.array(each)[~likely].sum()]
                 for each in (observed, expected)]  # fmt: skip
        pooled = np.array(table)[:, np.array(table)[1] > 0]
        assert stats.chisquare(*pooled).pvalue > 0.001


def test_answers_of_a_method_have_the_log_probabilities_that_they_were_drawn_with(small_model):
    model, ours = small_model("Llama", vocab_size=7), TopP(p=0.7)
    settings = {"end_tokens": (END,), "max_tokens": LENGTH, "token_budget": 4096}
    [drawn] = sample(model, [Question(PROMPT, 300, 1)], warp=ours.warp, **settings)
    whole = {answer.tokens: answer.log_prob for answer in drawn if not answer.truncated}
    tree = build(sorted(whole), np.full(len(whole), 1 / len(whole)))
    exact = score(model, PROMPT, tree, Packed(), 4096, warp=ours.warp)
    np.testing.assert_allclose(exact, [whole[tokens] for tokens in sorted(whole)], atol=1e-5)


def test_the_method_of_the_documentation_is_one():
    """In one file, as docs/methods.md shows it."""
    shown = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    code = shown.split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(compile(code, "docs/methods.md", "exec"), names)
    kept = names["Epsilon"](epsilon=0.2).warp(torch.tensor([[0.0, 0.0, -5.0]])).isfinite()
    assert kept.tolist() == [[True, True, False]]
