"""Which of the paper's models fit which GPU, and the GPU hours there: computed, not measured.

    python tests/benchmarks/cards.py [--config FILE] [--share SHARE]

Needs neither the models nor a GPU.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cost import BYTES, Work, hours, markdown, sizes, work_of
from paper import ROOT, SHAPES, paper_chat, parameters, read_plan
from transformers import PreTrainedConfig

from diffuselm.tree.token_budget import LARGEST, SHARE, bytes_of_pass, tokens_within

# Dense TFLOP/s in NVIDIA's data sheets, float32 without TF32; the first name that fits counts.
PEAKS = {
    "H100 PCIe": {"bfloat16": 756, "float32": 51},
    "H100 NVL": {"bfloat16": 835, "float32": 60},
    "H200 NVL": {"bfloat16": 835, "float32": 60},
    "H200": {"bfloat16": 989, "float32": 67},
    "H100": {"bfloat16": 989, "float32": 67},
    "A100": {"bfloat16": 312, "float32": 19.5},
    "L40S": {"bfloat16": 362, "float32": 91.6},
    "RTX 6000 Ada": {"bfloat16": 364, "float32": 91.1},
    "RTX 4090": {"bfloat16": 165, "float32": 82.6},
}
FOUR_BIT = 0.5 + 4 / 64  # bytes of a weight: NF4, and a float32 scale for each 64
CONTEXT = 1e9  # bytes that CUDA and its libraries take
LEAST = 256  # tokens that a pass needs room for: a prompt and its longest target


@dataclass(frozen=True)
class Card:
    """A GPU as its data sheet has it."""

    name: str  # of PEAKS
    memory: int  # GB
    bandwidth: float  # TB/s

    def free(self, weights: float) -> int:
        """Bytes beside the weights, which are in bytes too."""
        return int(self.memory * 1e9 - CONTEXT - weights)


CARDS = (
    Card("RTX 4090", 24, 1.008), Card("A100", 40, 1.555), Card("L40S", 48, 0.864),
    Card("H100", 80, 3.35), Card("H200", 141, 4.8),
)  # fmt: skip


def bytes_of(shape: PreTrainedConfig, kind: str) -> float:
    """Bytes of all weights; in four bits, the embeddings stay in bfloat16."""
    table = shape.vocab_size * shape.hidden_size
    inner = parameters(shape) - table
    embeddings = table * (1 if shape.tie_word_embeddings else 2)
    if kind == "four_bit":
        return inner * FOUR_BIT + embeddings * BYTES["bfloat16"]
    return (inner + embeddings) * BYTES[kind]


def tokens(card: Card, shape: PreTrainedConfig, kind: str) -> int | None:
    """Tokens that a training pass starts with; None where the model does not fit."""
    free, itemsize = card.free(bytes_of(shape, kind)), BYTES.get(kind, 2)
    if bytes_of_pass(LEAST, shape, itemsize, training=True) > SHARE * free:
        return None
    return tokens_within(free, shape, itemsize, training=True, largest=LARGEST[True], least=LEAST)


def hours_on(card: Card, shape: PreTrainedConfig, kind: str, work: Work, share: float) -> float:
    """GPU hours of one model under one seed, at a share of the card's own rates."""
    peaks = {dtype: peak * share for dtype, peak in PEAKS[card.name].items()}
    rates = argparse.Namespace(bandwidth=card.bandwidth * share, disk=1, **peaks)
    taken = hours(work, parameters(shape), kind, rates)
    return sum(value for name, value in taken.items() if name != "training, padded")


def table(kinds: tuple[str, ...], cell: Callable[[Card, PreTrainedConfig, str], str]) -> str:
    """A row for each of the paper's models and kinds of weights, a column for each card."""
    return markdown([
        {
            "model": model, "weights": kind, "GB": f"{bytes_of(shape, kind) / 1e9:.1f}",
            **{f"{card.name}, {card.memory} GB": cell(card, shape, kind) for card in CARDS},
        }
        for model, shape in SHAPES.items()
        for kind in kinds
    ])  # fmt: skip


def main() -> None:
    """Read the arguments, compute, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=ROOT / "config" / "paper.yaml")
    parser.add_argument("--share", type=float, default=0.5, help="of the data sheet's rates")
    arguments = parser.parse_args()
    plan = read_plan(arguments.config)
    work = work_of(plan, sizes(plan, paper_chat()))

    def fitting(card: Card, shape: PreTrainedConfig, kind: str) -> str:
        found = tokens(card, shape, kind)
        return f"{found:,}" if found else "no"

    def taken(card: Card, shape: PreTrainedConfig, kind: str) -> str:
        if tokens(card, shape, kind) is None:
            return "–"
        return f"{plan.config.repeats * hours_on(card, shape, kind, work, arguments.share):.1f}"

    print("Tokens of a training pass:\n", table((*BYTES, "four_bit"), fitting), sep="\n")
    print(f"\nGPU hours, {plan.config.repeats} seeds, at {arguments.share:.0%} of the rates:\n")
    print(table(tuple(BYTES), taken))


if __name__ == "__main__":
    main()
