"""Each kind of training leaves an adapter that is opened, sampled and scored as any other."""

import copy
import math
from collections import Counter

import numpy as np
import pytest
import torch
from test_checkpoint import STEPS, assert_same, killed, resumed, trained
from test_loop import PROMPTS, SETTINGS, WIDE, WORDS, changed, sharp

from diffuselm.methods.full import Full
from diffuselm.methods.near_base import NearBase
from diffuselm.methods.ours import Ours
from diffuselm.methods.prefix_tuning import PrefixTuning
from diffuselm.methods.prompt_tuning import PromptTuning
from diffuselm.model.adapters import load_adapter
from diffuselm.sampling.answers import Question
from diffuselm.sampling.tree_sampling import choose_sampler
from diffuselm.tree.layouts import Packed, choose_layout, score
from diffuselm.tree.prefix_tree import optimal_loss
from diffuselm.tuning.adapter import save
from diffuselm.tuning.loop import tune

ADAPTERS = {
    "lora": Ours(),
    "full": Full(),
    "prefix": PrefixTuning(virtual_tokens=3),
    "prompt": PromptTuning(virtual_tokens=3),
}
RECORD = {"hub": None, "path": "base", "revision": None}
TWO = changed(SETTINGS, passes=2)
TEXTS = [[1, *range(20, 40)], [1, *range(60, 75)], [1, 5, 5, 9, 70]]


def log_probs(model, asked=WORDS):
    return score(model, asked.tokens, asked.tree, Packed(), 4096)


@pytest.fixture(params=ADAPTERS)
def kind(request):
    return ADAPTERS[request.param]


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def tied(request):
    return request.param


def test_a_saved_adapter_opens_to_the_same_probabilities_and_answers(
    small_model, tmp_path, kind, tied
):
    base = small_model("Llama", tie_word_embeddings=tied)
    tuned = tune(base, [WORDS], TWO, seed=0, method=kind)
    expected = log_probs(tuned.model.get_base_model())
    save(tuned.model, RECORD, tmp_path)
    opened = load_adapter(small_model("Llama", tie_word_embeddings=tied), tmp_path)
    np.testing.assert_allclose(log_probs(opened), expected, atol=1e-4)
    untuned = log_probs(small_model("Llama", tie_word_embeddings=tied))
    assert np.abs(expected - untuned).max() > 0.1
    assert choose_layout(opened, [(WORDS.tokens, WORDS.tree)]) == Packed()
    sampler = choose_sampler(opened, WORDS.tokens, 4)
    assert sampler.__name__ == "sample"
    [drawn] = sampler(
        opened,
        [Question(WORDS.tokens, 50, seed=0)],
        end_tokens=(2,),
        max_tokens=3,
        token_budget=4096,
    )
    for each in drawn:
        read = torch.tensor([[*WORDS.tokens, *each.tokens]])
        found = opened(input_ids=read).logits[0].log_softmax(dim=-1)
        own = found[len(WORDS.tokens) - 1 : -1].gather(1, read[0, len(WORDS.tokens) :, None])
        assert each.log_prob == pytest.approx(own.sum().item(), abs=1e-3)


def test_answers_are_as_frequent_as_they_are_probable(small_model, tmp_path, kind):
    settings = changed(SETTINGS, passes=60, learning_rate=2e-2)
    if kind == ADAPTERS["full"]:
        settings = changed(settings, learning_rate=1e-3)
    tuned = tune(sharp(small_model("Llama")), [WORDS], settings, seed=0, method=kind)
    assert tuned.history[-1].loss < 0.5 * tuned.history[0].loss
    save(tuned.model, RECORD, tmp_path)
    opened = load_adapter(sharp(small_model("Llama")), tmp_path)
    [drawn] = choose_sampler(opened, WORDS.tokens, 4)(
        opened,
        [Question(WORDS.tokens, 4000, seed=0)],
        end_tokens=(2,),
        max_tokens=4,
        token_budget=4096,
    )
    counts = Counter(each.tokens for each in drawn)
    for target, log_prob in enumerate(log_probs(opened)):
        p = math.exp(log_prob)
        expected, spread = 4000 * p, math.sqrt(4000 * p * (1 - p))
        assert abs(counts[tuple(WORDS.tree.sequence(target))] - expected) <= 4 * spread + 1


def test_the_same_seed_gives_the_same_folder(small_model, tmp_path, kind):
    saved = []
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        torch.rand(7)
        tuned = tune(small_model("Llama"), PROMPTS, TWO, seed, method=kind).model
        save(tuned, RECORD, tmp_path / name)
        saved.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert saved[0] == saved[1]
    assert saved[0]["adapter_model.safetensors"] != saved[2]["adapter_model.safetensors"]


def test_a_killed_training_of_any_adapter_goes_on_to_the_same_bits(small_model, tmp_path, kind):
    path, arguments = tmp_path / "checkpoint", {"method": kind}
    killed(6, small_model("Llama"), path, **arguments)
    found, taken = resumed(small_model("Llama"), path, **arguments)
    assert taken == STEPS - 4
    assert_same(found, trained(small_model("Llama"), None, **arguments), tmp_path)


def test_all_weights_are_trained_in_full(small_model, tied):
    base = small_model("Llama", tie_word_embeddings=tied)
    before = copy.deepcopy(base.state_dict())
    whole = tune(base, PROMPTS, TWO, seed=0, method=Full()).model.merge_and_unload()
    after = whole.state_dict()
    assert after.keys() == before.keys()
    assert not [name for name in before if torch.equal(before[name], after[name])]
    assert (whole.lm_head.weight is whole.model.embed_tokens.weight) == tied


def kl_to_base(tuned, base):
    row = torch.tensor([TEXTS[0]])
    with torch.no_grad():
        q, p = (m(input_ids=row).logits.double().log_softmax(dim=-1) for m in (tuned, base))
    return float((p.exp() * (p - q)).sum(dim=-1).mean())


def test_the_stronger_the_term_the_nearer_the_base_and_the_less_is_learnt(small_model):
    found = []
    for strength in (1e-9, 1.0, 100.0):
        settings = changed(SETTINGS, passes=40)
        method = NearBase(strength=strength)
        tuned = tune(small_model("Llama"), [WORDS], settings, 0, method=method, texts=TEXTS)
        found.append((kl_to_base(tuned.model, small_model("Llama")), tuned.history[-1].loss))
    (free, fit), (held, _), (tight, unfit) = found
    assert free > 2 * held > 4 * tight > 0
    assert unfit > fit


def test_the_term_s_gradient_is_that_of_the_divergence_by_differences(small_model):
    method, text = NearBase(strength=3.0), TEXTS[:1]
    settings = changed(SETTINGS, rank=1, target_modules=("v_proj",), passes=2)
    model = tune(small_model("Llama"), [WORDS], settings, seed=0).model.double()
    base = small_model("Llama").double()
    parameter = [p for p in model.parameters() if p.requires_grad][1]
    read = method.add_gradient(model, text, np.random.default_rng(0))
    assert read == 2 * len(text[0])
    values = []
    for step in (1e-4, -1e-4):
        parameter.data.view(-1)[0] += step
        values.append(kl_to_base(model, base))
        parameter.data.view(-1)[0] -= step
    slope = 3.0 * (values[0] - values[1]) / 2e-4
    assert parameter.grad.view(-1)[0].item() == pytest.approx(slope, rel=1e-2)
    assert abs(slope) > 1e-4


def test_the_text_s_tokens_are_counted(small_model):
    settings, texts = changed(SETTINGS, passes=4), TEXTS[:1]
    usual = tune(small_model("Llama"), [WORDS], settings, 0)
    found = tune(small_model("Llama"), [WORDS], settings, 0, method=NearBase(), texts=texts)
    assert found.tokens == usual.tokens + 4 * 2 * len(texts[0])


def test_few_targets_are_drawn_by_seed_and_weigh_one_together():
    for count in (1, 7, 25):
        listed = Ours(targets=count).listed(WIDE, seed=0)
        assert len(listed.tree.leaf) == count == len(listed.targets)
        assert listed.tree.mass[listed.tree.leaf].sum() == pytest.approx(1)
        assert optimal_loss(listed.tree) == pytest.approx(math.log(count), abs=1e-9)
        sequences = {tuple(WIDE.tree.sequence(t)) for t in range(len(WIDE.tree.leaf))}
        own = [tuple(listed.tree.sequence(t)) for t in range(count)]
        assert {*own} <= sequences
    assert Ours(targets=140).listed(WIDE, seed=0) is WIDE
    drawn = [Ours(targets=25).listed(WIDE, seed).targets for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_few_targets_of_uneven_weights_keep_their_ratios():
    [uneven] = [each for each in PROMPTS if each.id == "a/uneven"]
    listed = Ours(targets=2).listed(uneven, seed=0)
    kept = [uneven.targets.index(text) for text in listed.targets]
    weights = uneven.tree.mass[uneven.tree.leaf[kept]]
    expected = weights / weights.sum()
    np.testing.assert_allclose(listed.tree.mass[listed.tree.leaf], expected)
    np.testing.assert_allclose(listed.prompt.targets.weights, expected)


def test_virtual_tokens_are_counted_where_they_are_read(small_model):
    """Those of prompt tuning pass through the model; those of prefix tuning are keys and values."""
    settings = changed(TWO, token_budget=64)
    for kind, more in (("prompt", 3), ("prefix", 0)):
        base, read = small_model("Llama"), []

        def count(module, _, output, read=read):
            if module.training:
                read.append(output.last_hidden_state.shape[1])

        base.model.register_forward_hook(count)
        tuned = tune(base, [WORDS, WIDE], settings, seed=0, method=ADAPTERS[kind])
        usual = tune(small_model("Llama"), [WORDS, WIDE], settings, seed=0)
        assert tuned.tokens == sum(read) == usual.tokens + more * len(read)
        assert len(read) > 2 * 2
