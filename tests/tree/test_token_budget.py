"""Tokens of a pass: as many as memory holds, and the same numbers however often it runs out."""

import gc
import logging
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig

from diffuselm.errors import InputError
from diffuselm.model.encoding import EncodedPrompt
from diffuselm.tasks.prompts import Prompt
from diffuselm.tree import token_budget
from diffuselm.tree.layouts import Packed, score
from diffuselm.tree.objective import distribution_matching_loss
from diffuselm.tree.prefix_tree import build
from diffuselm.tree.token_budget import (
    CPU_LARGEST,
    LARGEST,
    ROW,
    TokenBudget,
    bytes_of_pass,
    is_out_of_memory,
    tokens_that_fit,
    tokens_within,
)
from diffuselm.tuning.loop import gradient as tuning_gradient
from diffuselm.tuning.loop import split

PACKAGE = Path(token_budget.__file__).parents[2]
PROMPT = list(range(10, 20))
GB = 10**9
LLAMA_13B = LlamaConfig(
    vocab_size=32000,
    hidden_size=5120,
    intermediate_size=13824,
    num_hidden_layers=40,
    num_attention_heads=40,
    num_key_value_heads=40,
)


def out_of_memory_above(model, tokens):
    """Let the model's memory hold `tokens` tokens of a pass; returns the sizes that were asked."""
    asked = []

    def check(_, args, kwargs):
        asked.append(kwargs["input_ids"].numel())
        if asked[-1] > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model.register_forward_pre_hook(check, with_kwargs=True)
    return asked


def with_lora(model):
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(model, config)


def gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


def test_scores_are_the_same_where_memory_runs_out(small_model, tree, caplog):
    model = small_model("Llama")
    expected = score(model, PROMPT, tree, Packed(), 512)
    asked = out_of_memory_above(model, 35)
    budget = TokenBudget(128, least=16)
    found = budget.attempt(lambda tokens: score(model, PROMPT, tree, Packed(), tokens))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert max(asked) > 35
    assert budget.tokens in (16, 32)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings[0] == "out of memory with 128 tokens a pass: going on with 64"
    assert len(warnings) == {16: 3, 32: 2}[budget.tokens]


def test_the_gradient_is_the_same_where_memory_runs_out_in_the_middle(small_model, tree):
    """A step that clears gradients first leaves nothing of the passes before the failure."""
    model = with_lora(small_model("Llama"))
    prompt = EncodedPrompt(Prompt(id="a/b", text="?"), PROMPT, tree)

    def step(tokens):
        model.zero_grad()
        trees = split(prompt, tokens, Packed())
        return tuning_gradient(model, prompt, trees, Packed())

    loss = step(512)
    expected = gradient(model)
    # Of the passes of 64 tokens, the last that is larger than its predecessors fails.
    sizes = out_of_memory_above(model, 10**9)
    step(64)
    largest = max(range(len(sizes)), key=sizes.__getitem__)
    asked = out_of_memory_above(model, sizes[largest] - 1)
    budget = TokenBudget(64, least=16)
    assert budget.attempt(step) == pytest.approx(loss, rel=1e-5)
    assert budget.tokens == 32
    assert largest > 0
    assert asked[largest] == sizes[largest]
    assert (gradient(model) - expected).norm() <= 1e-5 * expected.norm()


def test_a_budget_once_halved_stays_halved():
    asked = []

    def step(tokens):
        asked.append(tokens)
        if tokens > 100:
            raise MemoryError
        return "done"

    budget = TokenBudget(256)
    assert [budget.attempt(step), budget.attempt(step)] == ["done", "done"]
    assert asked == [256, 128, 64, 64]


EXHAUSTING = """
import resource, sys
import torch
from diffuselm.tree.token_budget import TokenBudget
torch.set_num_threads(1)
(torch.ones(64, 64, requires_grad=True) @ torch.ones(64, 64)).sum().backward()
used = 1024 * int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1])
resource.setrlimit(resource.RLIMIT_AS, (used + 64 * 2**20,) * 2)
layers = torch.ones(8, 1, requires_grad=True)

def step(tokens):  # each of eight layers keeps 4 MiB for 1,024 tokens
    kept = torch.ones(tokens, 1024)
    for layer in layers:
        kept = (kept * layer).exp().tanh()
    kept.mean().backward()
    return kept.shape[0]

budget = TokenBudget(2**15, least=int(sys.argv[1]))
print(budget.attempt(step), budget.tokens)
"""


def exhausted(least):
    return subprocess.run(
        [sys.executable, "-c", EXHAUSTING, str(least)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_step_ends_in_a_process_whose_memory_is_really_exhausted():
    done = exhausted(least=64)
    assert done.returncode == 0, done.stderr
    tokens, left = map(int, done.stdout.split())
    assert tokens == left
    assert 64 <= tokens <= 2**12  # 64 MiB hold no more, nor does a step come to the least
    assert done.stderr.count("out of memory with") == int(np.log2(2**15 / tokens))


def test_nothing_left_to_halve_is_one_line():
    def step(tokens):
        raise torch.OutOfMemoryError(f"CUDA out of memory with {tokens}")

    budget = TokenBudget(200, least=64)
    with pytest.raises(
        InputError, match=r"^out of memory with 100 tokens a pass, [^\n]*; expected room [^\n]*$"
    ) as caught:
        budget.attempt(step)
    assert caught.value.__context__ is None  # nor are the last attempt's tensors kept


def test_another_error_passes_through_untouched():
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), KeyError("a")):

        def step(_, error=error):
            raise error

        budget = TokenBudget(128)
        with pytest.raises(type(error)) as caught:
            budget.attempt(step)
        assert caught.value is error
        assert budget.tokens == 128


def test_out_of_memory_is_told_by_torch_s_own_words():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as caught:
        np.empty(2**60, dtype=np.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.cuda.OutOfMemoryError())
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_the_failed_attempt_s_tensors_are_gone_before_the_next_try():
    """A tensor of the frame that failed, and one in a cycle that only the collector finds."""
    failed = []

    def step(tokens):
        if failed:
            return [tensor() for tensor in failed]
        plain, cyclic = torch.ones(tokens), torch.ones(tokens)
        cyclic.itself = cyclic
        failed.extend([weakref.ref(plain), weakref.ref(cyclic)])
        raise torch.OutOfMemoryError

    gc.disable()
    try:
        assert TokenBudget(128).attempt(step) == [None, None]
    finally:
        gc.enable()


def test_a_13b_model_in_float32_trains_on_some_hundred_tokens_in_26_gb():
    """What an 80 GB GPU has left beside the weights."""
    limits = {"largest": 8192, "least": 64}
    training = tokens_within(26 * GB, LLAMA_13B, 4, training=True, **limits)
    assert 256 <= training <= 1024
    assert tokens_within(26 * GB, LLAMA_13B, 4, training=False, **limits) > training
    assert tokens_within(26 * GB, LLAMA_13B, 2, training=True, **limits) >= training


@pytest.mark.parametrize("training", [True, False])
def test_more_memory_never_holds_fewer_tokens(training):
    found = [
        tokens_within(free, LLAMA_13B, 4, training=training, largest=3000, least=32)
        for free in (0, *(2**k for k in range(20, 48)))
    ]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (32, 2048)
    assert set(found) == {2**k for k in range(5, 12)}
    assert tokens_within(0, LLAMA_13B, 4, training=training, largest=3000, least=100) == 100


@pytest.mark.parametrize("tokens", [2**12, 2**15])
def test_the_estimate_of_rows_covers_their_keys_values_and_logits_and_holds_more(tokens):
    keys_and_values = 2 * LLAMA_13B.num_hidden_layers * LLAMA_13B.hidden_size * 2 * tokens
    logits = tokens // ROW * LLAMA_13B.vocab_size * 2
    estimate = bytes_of_pass(tokens, LLAMA_13B, 2, training=False)
    assert keys_and_values + logits <= estimate <= 1.5 * (keys_and_values + logits)
    assert estimate < bytes_of_pass(tokens, LLAMA_13B, 2, training=True)


@pytest.mark.parametrize("attention", [None, "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_estimate_covers_what_autograd_keeps(small_model, family, attention, dtype):
    """Bytes kept for the gradient of an adapter on all projections, of a pass as wide as real."""
    shape = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4}
    head = {"head_dim": 32} if family in ("Gemma", "Gemma 2", "Gemma 3", "Qwen 3") else {}
    model = small_model(family, **shape, **head, attn_implementation=attention)
    model = get_peft_model(model.to(dtype), LoraConfig(r=4, target_modules="all-linear")).train()
    tree = build([(a, b, 2) for a in range(3, 16) for b in range(3, 16)], [1 / 169] * 169)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        distribution_matching_loss(Packed().log_probs(model, PROMPT, tree), tree)
    measured = sum(storage.nbytes() for at, storage in kept.items() if at not in weights)
    tokens = len(PROMPT) + len(tree.inner)
    estimate = bytes_of_pass(tokens, model.config, dtype.itemsize, training=True)
    assert measured <= estimate <= 2.5 * measured


def test_a_model_on_the_cpu_trains_on_no_more_than_its_caches_serve(small_model):
    model = with_lora(small_model("Llama"))
    assert tokens_that_fit(model, training=True) == CPU_LARGEST
    assert tokens_that_fit(model, training=True, largest=512) == 512
    assert tokens_that_fit(model, training=False) > CPU_LARGEST


@pytest.mark.parametrize("training", [True, False])
def test_a_model_on_the_cpu_counts_half_the_machine_s_memory_free_or_not(
    small_model, monkeypatch, training
):
    model = with_lora(small_model("Llama"))
    machine = psutil.virtual_memory()._replace(total=2**23, available=2**12)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    limits = {"training": training, "largest": LARGEST[training], "least": 64}
    fitting = tokens_that_fit(model, training=training)
    assert fitting == tokens_within(2**22, model.config, 4, **limits)
    assert 64 < fitting < LARGEST[training]
    assert tokens_that_fit(model, training=training, least=2**13) == 2**13


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_model_on_a_gpu_counts_the_gpu_s_memory(small_model):
    model = small_model("Llama").to("cuda")
    assert tokens_that_fit(model, training=True, largest=4096) == 4096
    free = torch.cuda.mem_get_info()[0]
    filler = torch.empty(free - 2**26, dtype=torch.uint8, device="cuda")
    filled = tokens_that_fit(model, training=True, largest=2**15)
    del filler  # torch keeps the memory, for its next tensors
    assert tokens_that_fit(model, training=True, largest=2**15) > filled
