"""What the exact loss buys: noise of the gradient at equal tokens, and steps to a given KL.

    python tests/benchmarks/losses.py [--model FOLDER] [--repeats N]

Ours, hard and soft labels, on one prompt of 10 targets and one of 200. Each step draws as many
answers as cost, each read as a row with its prompt, what the tree costs: one answer at least.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

import numpy as np
import torch
from peft import PeftModel
from training import names_prompt
from transformers import PreTrainedModel

from diffuselm.config.tune import LoraSettings
from diffuselm.methods.hard_labels import HardLabels
from diffuselm.methods.ours import Ours
from diffuselm.methods.soft_labels import SoftLabels
from diffuselm.methods.training import Training
from diffuselm.model.chat import ChatFormat
from diffuselm.model.encoding import EncodedPrompt
from diffuselm.model.opening import load_chat_format, load_model
from diffuselm.tasks.task_files import load_task
from diffuselm.tree.layouts import Packed, score
from diffuselm.tree.prefix_tree import build, optimal_loss
from diffuselm.tuning.loop import gradient, rows_of, split, weighted

METHODS = {"ours": Ours(), "hard": HardLabels(), "soft": SoftLabels()}
REACHED = (0.5, 0.2, 0.1)  # nats


def numbers_prompt(chat: ChatFormat) -> EncodedPrompt:
    """The paper's prompt for a number from 1 to 10."""
    [prompt] = [
        p for p in load_task(ROOT / "resources/tasks/numbers.yaml") if p.id == "numbers/1-10"
    ]
    answers = chat.answer_ids(prompt.text, [f"{{{n}}}" for n in range(1, 11)])
    return EncodedPrompt(prompt, chat.prompt_ids(prompt.text), build(answers, [0.1] * 10))


class Tuning:
    """One model that begins anew with each method, and takes its steps on one prompt."""

    def __init__(
        self, base: PreTrainedModel, prompt: EncodedPrompt, settings: LoraSettings
    ) -> None:
        self.prompt, self.settings, self.rows = prompt, settings, rows_of(prompt, Packed())
        torch.manual_seed(0)
        self.model: PeftModel = Ours().adapter(base, settings).train()
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.begun = [p.detach().clone() for p in self.trained]
        self.parts = split(prompt, settings.token_budget or 1024, Packed())

    def gradient(self, method: Training, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Of one step, as one vector, and the tokens that the step reads."""
        tree = self.prompt.tree
        weights = method.node_weights(tree, rng, self.rows)
        gradient(self.model, self.prompt, weighted(self.parts, tree, weights), Packed())
        asked = len(self.prompt.tokens)
        packed = sum(Packed().tokens_read(asked, part) for part in self.parts)
        found = torch.cat([p.grad.flatten() for p in self.trained]).double().numpy()
        return found, method.tokens_read(packed, asked, tree, weights, self.rows)

    def steps(self, method: Training, seed: int) -> Iterator[None]:
        """Steps of training from the beginning, one at a time."""
        for parameter, value in zip(self.trained, self.begun, strict=True):
            parameter.data.copy_(value)
        rng, settings = np.random.default_rng(seed), self.settings
        optimizer = torch.optim.AdamW(self.trained, lr=settings.learning_rate, eps=settings.eps)
        while True:
            self.gradient(method, rng)
            torch.nn.utils.clip_grad_norm_(self.trained, settings.max_grad_norm)
            optimizer.step()
            yield

    def kl(self) -> float:
        """Eq. 2 in nats."""
        log_probs = score(self.model, self.prompt.tokens, self.prompt.tree, Packed(), 1024)
        weights = self.prompt.tree.mass[self.prompt.tree.leaf]
        return float(-(weights * log_probs).sum() - optimal_loss(self.prompt.tree))


def variance(tuning: Tuning, repeats: int) -> None:
    """Print, for each drawn loss, E|g - gradient|^2 / |gradient|^2 and what it read."""
    exact, packed = tuning.gradient(METHODS["ours"], np.random.default_rng(0))
    size, many = (exact**2).sum(), len(exact)
    print(f"    ours: {packed} tokens a step, variance 0; {many} parameters")
    for name in ("hard", "soft"):
        rng, off, mean, tokens = np.random.default_rng(0), [], 0.0, []
        for _ in range(repeats):
            found, read = tuning.gradient(METHODS[name], rng)
            off.append(((found - exact) ** 2).sum() / size)
            mean, tokens = mean + found / repeats, [*tokens, read]
        error = np.std(off, ddof=1) / np.sqrt(repeats)
        bias = ((mean - exact) ** 2).sum() / size
        print(
            f"    {name}: {tuning.rows} rows, {np.mean(tokens):.0f} tokens a step, variance "
            f"{np.mean(off):.2f} +- {error:.2f} of the squared gradient; that of the mean of "
            f"{repeats} is off by {bias:.4f}, {np.mean(off) / repeats:.4f} expected"
        )


def steps(tuning: Tuning, most: int, every: int, seeds: int) -> None:
    """Print how many steps each loss takes to each KL: the median over seeds of the draws."""
    for name, method in METHODS.items():
        reached: dict[float, list[float]] = {kl: [] for kl in REACHED}
        last = []
        for seed in range(1 if name == "ours" else seeds):
            missing, kl = set(REACHED), np.inf
            for number, _ in zip(range(1, most + 1), tuning.steps(method, seed), strict=False):
                if number % every == 0:
                    kl = tuning.kl()
                    for found in {each for each in missing if kl <= each}:
                        reached[found].append(number)
                        missing.discard(found)
                if not missing:
                    break
            for each in missing:
                reached[each].append(np.inf)
            last.append(kl)
        told = ", ".join(f"{kl}: {statistics.median(its):.0f}" for kl, its in reached.items())
        print(f"    {name}: steps to a KL of {told}; last {statistics.median(last):.3f} nats")


def main() -> None:
    """Read the arguments and measure both prompts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "resources" / "models" / "tiny-gemma")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--most", type=int, default=300, help="steps")
    parser.add_argument("--every", type=int, default=5, help="steps between two looks at the KL")
    parser.add_argument("--seeds", type=int, default=3, help="of the drawn losses")
    parser.add_argument(
        "--later", type=int, default=25, help="steps before the second look at it; 0 for none"
    )
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--prompts", nargs="+", default=["numbers", "names"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = LoraSettings(learning_rate=arguments.learning_rate, token_budget=1024)
    for name in arguments.prompts:
        base = load_model(arguments.model, dtype="float32", device="cpu")
        chat = load_chat_format(arguments.model, base.generation_config.eos_token_id)
        prompt = numbers_prompt(chat) if name == "numbers" else names_prompt(chat)[0]
        tuning, began = Tuning(base, prompt, settings), time.perf_counter()
        print(f"{arguments.model.name}, {prompt.id}, {len(prompt.tree.leaf)} targets, KL before "
              f"tuning {tuning.kl():.2f} nats", flush=True)  # fmt: skip
        variance(tuning, arguments.repeats)
        if arguments.later:
            for _ in zip(range(arguments.later), tuning.steps(METHODS["ours"], 0), strict=False):
                pass
            print(f"    after {arguments.later} steps of ours, KL {tuning.kl():.2f} nats:")
            variance(tuning, arguments.repeats)
        steps(tuning, arguments.most, arguments.every, arguments.seeds)
        print(f"  {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
