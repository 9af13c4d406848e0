"""Time one optimiser step on the 200 names: packed over the prefix tree, and padded.

    python tests/benchmarks/training.py [--model FOLDER] [--repeats N]

Both sides train the same adapter with the same optimiser, in turn, in this one process.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from diffuselm.config.config import TuneSettings
from diffuselm.model.chat import ChatFormat
from diffuselm.model.encoding import EncodedPrompt
from diffuselm.model.opening import load_chat_format, load_model
from diffuselm.tasks.natural_names import embedded
from diffuselm.tasks.target_sets import draw_targets
from diffuselm.tasks.task_files import load_task
from diffuselm.tree.layouts import choose_layout
from diffuselm.tree.prefix_tree import build
from diffuselm.tuning.loop import gradient, split

SETTINGS = TuneSettings()  # the paper's


def names_prompt(chat: ChatFormat) -> tuple[EncodedPrompt, list[list[int]]]:
    """The paper's names prompt and 200 names, as a tree and as plain token rows."""
    [prompt] = load_task(ROOT / "resources" / "tasks" / "names.yaml")
    names = draw_targets(prompt, embedded()[0], seed=1).texts
    answers = chat.answer_ids(prompt.text, [f"{{{name}}}" for name in names])
    tree = build(answers, [1 / len(answers)] * len(answers))
    return EncodedPrompt(prompt, chat.prompt_ids(prompt.text), tree), answers


def wide_model(vocabulary: int) -> PreTrainedModel:
    """A Llama 1024 wide, 8 layers deep, with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=8,
        num_attention_heads=16,
        num_key_value_heads=16,
    )
    return LlamaForCausalLM(config)


def padded_gradient(
    model: PeftModel, prompt: Sequence[int], answers: Sequence[Sequence[int]], rows: int
) -> float:
    """Add the gradient of Eq. 5 the usual way: each target a padded row, the prompt in each.

    Logits are asked for the answers' tokens alone, which spares the padded side the prompt's.
    """
    total = 0.0
    for start in range(0, len(answers), rows):
        batch = answers[start : start + rows]
        longest = max(map(len, batch))
        ids = torch.zeros((len(batch), len(prompt) + longest), dtype=torch.long)
        ids[:, : len(prompt)] = torch.tensor(prompt)
        labels = torch.full((len(batch), longest), -100)
        for row, answer in enumerate(batch):
            labels[row, : len(answer)] = torch.tensor(answer)
        ids[:, len(prompt) :] = labels.clamp(min=0)
        seen = torch.cat([torch.ones(len(batch), len(prompt)), labels >= 0], dim=1).long()
        logits = model(
            input_ids=ids[:, :-1],
            attention_mask=seen[:, :-1],
            use_cache=False,
            logits_to_keep=longest,
        ).logits
        loss = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="sum")
        loss = loss / len(answers)
        loss.backward()
        total += loss.item()
    return total


def measure(
    name: str,
    base: PreTrainedModel,
    chat: ChatFormat,
    batches: Sequence[int],
    n: int,
    token_budget: int,
) -> None:
    """Print the seconds of a step both ways, their ratio, and how far the gradients differ."""
    prompt, answers = names_prompt(chat)
    method = choose_layout(base, [(prompt.tokens, prompt.tree)])
    torch.manual_seed(0)
    model = get_peft_model(base, _lora()).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=SETTINGS.learning_rate, eps=SETTINGS.eps)
    trees = split(prompt, token_budget, method)
    ways = {"packed": lambda: gradient(model, prompt, trees, method)}
    for rows in batches:
        ways[f"padded, {rows} rows a pass"] = lambda rows=rows: padded_gradient(
            model, prompt.tokens, answers, rows
        )
    gradients = {way: _gradient(trained, run) for way, run in ways.items()}  # also warms up
    seconds = {way: [] for way in ways}
    # Each way for itself, as training goes: the freed memory of one would slow the other's steps.
    for way, run in ways.items():
        for _ in range(n):
            began = time.perf_counter()
            run()
            torch.nn.utils.clip_grad_norm_(trained, SETTINGS.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            seconds[way].append(time.perf_counter() - began)
    _report(name, model, prompt, answers, gradients, seconds)


def _report(
    name: str,
    model: PeftModel,
    prompt: EncodedPrompt,
    answers: Sequence[Sequence[int]],
    gradients: dict[str, Tensor],
    seconds: dict[str, list[float]],
) -> None:
    weights = sum(p.numel() for p in model.parameters())
    plain = len(answers) * len(prompt.tokens) + sum(map(len, answers))
    packed = len(prompt.tokens) + len(prompt.tree.inner)
    print(f"{name}: {weights / 1e6:.1f}M weights; {plain} tokens as rows, {packed} as a tree")
    medians = {way: statistics.median(taken) for way, taken in seconds.items()}
    for way, median in medians.items():
        off = (gradients[way] - gradients["packed"]).norm() / gradients["packed"].norm()
        print(f"  {way:24} {median:8.3f} s a step, gradient off by {off:.1e}")
    fastest = min(median for way, median in medians.items() if way != "packed")
    print(f"  packed is {fastest / medians['packed']:.1f}x faster than the fastest padded")


def _gradient(trained: Sequence[Tensor], run: Callable[[], float]) -> Tensor:
    run()
    gradient = torch.cat([p.grad.flatten() for p in trained])
    for parameter in trained:
        parameter.grad = None
    return gradient


def _lora() -> LoraConfig:
    return LoraConfig(
        r=SETTINGS.rank,
        lora_alpha=SETTINGS.alpha,
        lora_dropout=SETTINGS.dropout,
        target_modules=list(SETTINGS.target_modules),
        task_type="CAUSAL_LM",
    )


def main() -> None:
    """Read the arguments and measure both models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "resources" / "models" / "tiny-gemma")
    parser.add_argument("--repeats", type=int, default=9, help="steps of the stand-in")
    parser.add_argument(
        "--wide-repeats", type=int, default=1, help="of the wide model; 0 leaves it out"
    )
    parser.add_argument("--threads", type=int, default=2)
    # On a CPU the dense mask of a long pass costs more than the prompt of a second one.
    parser.add_argument("--token-budget", type=int, default=512)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    base = load_model(arguments.model, dtype="float32", device="cpu")
    chat = load_chat_format(arguments.model, base.generation_config.eos_token_id)
    budget = arguments.token_budget
    measure(arguments.model.name, base, chat, (20, 200), arguments.repeats, budget)
    if arguments.wide_repeats:
        wide = wide_model(len(chat.tokenizer))
        # A single batch of 200 rows would hold about 10 GB of activations here.
        measure("1024 wide, 8 layers", wide, chat, (20,), arguments.wide_repeats, budget)


if __name__ == "__main__":
    main()
