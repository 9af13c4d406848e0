"""Shared fixtures: no network, one thread of torch, and small models with random weights."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import pytest
from xdist.scheduler import LoadFileScheduling

from diffuselm.tree.prefix_tree import PrefixTree, build

# What starts workflows, servers or many processes, or builds models: left out of `make test-quick`.
SLOW = (
    "workflow/",
    "stand_in/",
    "measure/test_judge.py",
    "measure/test_recomputation.py",
    "model/test_gguf.py",
    "model/test_hub.py",
    "model/test_paper_shapes.py",
    "model/test_real_tokenizers.py",
    "one_prompt/test_models.py",
    "plan/test_baseline.py",
    "stages/test_adapters.py",
    "test_warm.py",
)
# Files that share a finished run.
GROUPS = {
    "workflow/test_invocations.py": "undisturbed",
    "workflow/test_kills.py": "undisturbed",
    "workflow/test_report.py": "finished",
    "workflow/test_workflow.py": "finished",
}
END = 2
SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": END,
}
# Attention of the Gemma and Qwen 3 classes takes its head size from the config alone.
FAMILIES = {
    "Llama": ("LlamaConfig", "LlamaForCausalLM", {}),
    "Mistral": ("MistralConfig", "MistralForCausalLM", {}),
    "Gemma": ("GemmaConfig", "GemmaForCausalLM", {"head_dim": 8}),
    "Gemma 2": ("Gemma2Config", "Gemma2ForCausalLM", {"head_dim": 8}),
    "Gemma 3": ("Gemma3TextConfig", "Gemma3ForCausalLM", {"head_dim": 8}),
    "Qwen 2": ("Qwen2Config", "Qwen2ForCausalLM", {}),
    "Qwen 3": ("Qwen3Config", "Qwen3ForCausalLM", {"head_dim": 8}),
    "Phi-3": ("Phi3Config", "Phi3ForCausalLM", {}),
    "Mamba": ("MambaConfig", "MambaForCausalLM", {"state_size": 4}),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests and let them begin, workflows first, so that no worker ends with them."""
    places = {item: item.path.relative_to(Path(__file__).parent).as_posix() for item in items}
    for item, place in places.items():
        if place.startswith(SLOW):
            item.add_marker("slow")
    items.sort(key=lambda item: [places[item].startswith(each) for each in SLOW], reverse=True)


class Groups(LoadFileScheduling):
    """A file goes to one worker, and files that share a finished run go to one, too."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return GROUPS.get(file.removeprefix("tests/"), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """How tests are handed to several workers."""
    return Groups(config, log)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Keep torch to one thread, where a test file imported it at all: it takes seconds."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(params=[name for name in FAMILIES if name != "Mamba"])
def family(request: pytest.FixtureRequest) -> str:
    """Each class of transformers that has to take a tree mask."""
    return request.param


@pytest.fixture
def small_model() -> Callable:
    """Make a model of a family: two layers, 32 wide, random weights, the same at each call."""
    import torch
    import transformers

    def make(name: str, **changes):
        config, model, odd = FAMILIES[name]
        made = getattr(transformers, model)(
            getattr(transformers, config)(**{**SHAPE, **odd, **changes})
        ).eval()
        generator = torch.Generator().manual_seed(0)
        # Wider than the library's 0.02, so that each position is felt; norms stay near their start.
        for parameter in made.parameters():
            noise = torch.empty_like(parameter).normal_(0, 0.3, generator=generator)
            parameter.data = parameter.data + noise / 3 if parameter.ndim == 1 else noise
        made.tie_weights()
        return made

    return make


@pytest.fixture
def targets() -> tuple[list[tuple[int, ...]], np.ndarray]:
    """Forty-odd distinct targets of 2 to 7 tokens that share prefixes, and uneven weights."""
    rng = np.random.default_rng(0)
    drawn = [(*rng.integers(3, 7, size=rng.integers(1, 7)).tolist(), END) for _ in range(60)]
    sequences = list(dict.fromkeys(drawn))
    return sequences, rng.dirichlet(np.ones(len(sequences)))


@pytest.fixture
def tree(targets) -> PrefixTree:
    """The prefix tree of `targets`."""
    return build(*targets)
