"""The paper's models and prompts without the models: shapes, a tokenizer, the run matrix."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

import mistral_common
import torch
import yaml
from sentencepiece import SentencePieceProcessor
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    LlamaConfig,
    LlamaTokenizer,
    MistralConfig,
    PretrainedConfig,
)
from transformers.convert_slow_tokenizer import generate_merges

from diffuselm.config.config import read_config
from diffuselm.model.chat import ChatFormat
from diffuselm.model.encoding import EncodedPrompt
from diffuselm.plan.make_plan import make_plan
from diffuselm.plan.plan import Plan
from diffuselm.stand_in.architectures import INST_TEMPLATE
from diffuselm.tasks.natural_names import embedded
from diffuselm.tasks.number_ranges import write_ranges
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.target_sets import draw_targets
from diffuselm.tasks.task_files import load_task
from diffuselm.tree.prefix_tree import build

# The shapes of the paper's models, from their published configurations.
SHAPES = {
    "gemma": GemmaConfig(
        vocab_size=256000, hidden_size=3072, intermediate_size=24576, num_hidden_layers=28,
        num_attention_heads=16, num_key_value_heads=16, head_dim=256, tie_word_embeddings=True,
    ),
    "llama-2": LlamaConfig(
        vocab_size=32000, hidden_size=5120, intermediate_size=13824, num_hidden_layers=40,
        num_attention_heads=40, num_key_value_heads=40,
    ),
    "mistral": MistralConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, sliding_window=4096,
    ),
}  # fmt: skip


def paper_chat() -> ChatFormat:
    """The chat format of Mistral-7B-Instruct-v0.1; its tokenizer comes with mistral-common."""
    file = Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1"
    pieces = SentencePieceProcessor(model_file=str(file))
    vocabulary = {pieces.id_to_piece(index): index for index in range(len(pieces))}
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=generate_merges(vocabulary, None))
    tokenizer.chat_template = INST_TEMPLATE
    return ChatFormat(tokenizer, (tokenizer.eos_token_id,), leading_space=True)


def parameters(shape: PretrainedConfig) -> int:
    """Weights that take part in the products of a token: all but a separate input embedding."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape)
    embedded_in = 0 if shape.tie_word_embeddings else model.get_input_embeddings().weight.numel()
    return sum(p.numel() for p in model.parameters()) - embedded_in


def read_plan(file: Path) -> Plan:
    """The run matrix of a config whose models are not there: a stand-in takes their places."""
    raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    for name, model in raw["models"].items():
        kept = {key: model[key] for key in ("paper_model", "billions") if key in model}
        raw["models"][name] = {"path": "resources/models/tiny-llama", **kept}
    with contextlib.chdir(ROOT):
        return make_plan(read_config(raw, str(file)), str(file))


def encoded(chat: ChatFormat, prompt: Prompt, seed: int) -> EncodedPrompt:
    """A prompt and its target set as the model reads them; names are the embedded ones."""
    targets = draw_targets(prompt, embedded()[0], seed)
    texts, weights = targets.texts, targets.weights
    if prompt.fields > 1:
        answers = chat.opening_ids(prompt.text, texts)
    else:
        answers = chat.answer_ids(prompt.text, [f"{{{text}}}" for text in texts])
    tree = build(answers, weights)
    return EncodedPrompt(prompt, chat.prompt_ids(prompt.text), tree)


def prompts_of(plan: Plan, task: str) -> Sequence[Prompt]:
    """The prompts of a task, those of figure 2 made here."""
    file = ROOT / plan.task_files[task]
    if task != "ranges":
        return load_task(file)
    with TemporaryDirectory() as folder:
        made = Path(folder) / file.name
        write_ranges(ranges=plan.config.ranges, seed=plan.config.seed, out=made)
        return load_task(made)
