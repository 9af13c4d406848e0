"""Virtual tokens stand before whatever is read: a tree, a shared prompt, padded rows."""

import copy

import numpy as np
import pytest
import torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

from diffuselm.model.virtual_tokens import embedded_tokens, with_virtual_tokens
from diffuselm.sampling.answers import Question
from diffuselm.sampling.shared_prompt import shares_prompt
from diffuselm.sampling.tree_sampling import sample, sample_whole
from diffuselm.tree.layouts import Packed, Padded, choose_layout, score

PROMPT = [11, 12, 13]
CONFIGS = {"prefix": PrefixTuningConfig, "prompt": PromptTuningConfig}


@pytest.fixture(params=CONFIGS)
def tuned(request, small_model, family):
    """As PEFT opens it, with 4 virtual tokens."""
    torch.manual_seed(0)
    config = CONFIGS[request.param](num_virtual_tokens=4, task_type="CAUSAL_LM")
    return get_peft_model(small_model(family), config).eval()


@torch.no_grad()
def test_logits_are_those_of_peft_s_own_forward(tuned):
    ids, seen = torch.randint(3, 97, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    seen[1, 6:] = 0
    usual = copy.deepcopy(tuned)(input_ids=ids, attention_mask=seen).logits[:, -9:]
    base = with_virtual_tokens(tuned)
    for given in ({}, {"position_ids": torch.arange(9)[None]}, {"use_cache": False}):
        found = base(input_ids=ids, attention_mask=seen, **given).logits
        assert found.shape == usual.shape
        torch.testing.assert_close(found[0], usual[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found[1, :6], usual[1, :6], atol=1e-4, rtol=1e-4)


def test_a_call_reads_embeddings_and_no_keys(tuned):
    assert embedded_tokens(tuned.get_base_model()) == 0
    by_prompt = tuned.active_peft_config.peft_type == "PROMPT_TUNING"
    assert embedded_tokens(with_virtual_tokens(tuned)) == (4 if by_prompt else 0)


def test_a_tree_mask_gives_the_probabilities_of_padded_rows(tuned, tree):
    expected = peft_scores(copy.deepcopy(tuned), tree)
    base = with_virtual_tokens(tuned)
    assert choose_layout(base, [(PROMPT, tree)]) == Packed()
    for layout in (Packed(), Padded()):
        np.testing.assert_allclose(score(base, PROMPT, tree, layout, 4096), expected, atol=1e-4)


@torch.no_grad()
def peft_scores(model, tree):
    """Each target alone, by PEFT's forward."""
    found = []
    for target in range(len(tree.leaf)):
        answer = tree.sequence(target)
        logits = model(input_ids=torch.tensor([[*PROMPT, *answer]])).logits[0]
        log_probs = logits[-len(answer) - 1 : -1].log_softmax(dim=-1)
        found.append(log_probs.gather(1, torch.tensor(answer)[:, None]).sum().item())
    return found


def test_answers_are_drawn_behind_a_shared_prompt_as_one_by_one(tuned):
    base = with_virtual_tokens(tuned)
    assert shares_prompt(base, PROMPT, 6)
    questions = [Question(PROMPT, 30, seed=0), Question([*PROMPT[:2], 14], 30, seed=1)]
    options = {"end_tokens": (2,), "max_tokens": 6, "token_budget": 4096}
    shared, whole = sample(base, questions, **options), sample_whole(base, questions, **options)
    assert shared
    assert [[draw.tokens for draw in its] for its in shared] == [
        [draw.tokens for draw in its] for its in whole
    ]
    for own, other in zip(shared[0], whole[0], strict=True):
        assert own.log_prob == pytest.approx(other.log_prob, abs=1e-3)


def test_the_gradient_is_that_of_peft_s_own_forward(tuned, tree):
    other = copy.deepcopy(tuned)
    base = with_virtual_tokens(tuned)
    Packed().log_probs(base, PROMPT, tree)[tree.leaf[0]].backward()
    answer = tree.sequence(0)
    logits = other(input_ids=torch.tensor([[*PROMPT, *answer[:-1]]])).logits[0, -1]
    logits.log_softmax(dim=-1)[answer[-1]].backward()
    found, expected = (
        torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
        for model in (tuned, other)
    )
    assert (found - expected).norm() <= 1e-4 * expected.norm() > 0


def test_generation_goes_on_from_the_virtual_tokens(tuned):
    ids = torch.tensor([PROMPT])
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 8, "do_sample": False}
    base = with_virtual_tokens(tuned)
    found = base.generate(input_ids=ids, **options)[0]
    for length in range(len(PROMPT), len(found)):  # each token anew, from the first
        assert base(input_ids=found[None, :length]).logits[0, -1].argmax() == found[length]
