"""Measure tuning and sampling at the paper's shapes, with random weights, on the device at hand.

    python tests/benchmarks/gpu.py [--shape 7b] [--dtype bfloat16] [--peak TFLOPS] [--out FILE]

Without a GPU the same code measures a small shape. A cell that runs out of memory says so.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import transformers
from cards import PEAKS
from cells import Cell, cells_of, freed
from cost import BIOGRAPHY, Size, Work, markdown, sizes, sizes_of_tunings, work_of
from paper import ROOT, SHAPES, paper_chat, read_plan
from transformers import LlamaConfig

LLAMA = {
    "small": LlamaConfig(
        vocab_size=32000, hidden_size=128, intermediate_size=344, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4,
    ),
    "7b": LlamaConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=32,
    ),
    "13b": SHAPES["llama-2"],
}  # fmt: skip
COLUMNS = (
    "shape", "dtype", "work", "way", "tokens", "seconds", "tokens/s", "TFLOP/s", "of peak",
    "peak GB",
)  # fmt: skip
ABSENT = Cell("the model", "", 0, math.nan, math.nan)


def projected(work: Work, whole: Size, cells: Sequence[Cell]) -> dict[str, float]:
    """Hours of one model's work under one seed, of each kind.

    `whole` is the size of the pass that was measured. Short answers count with their prompts, at
    the peaked entropy; biographies with their tokens.
    """
    seconds = {(cell.work, cell.way.partition(",")[0]): cell.seconds for cell in cells}
    [written] = [cell for cell in cells if cell.work == "biographies"]
    tokens = work.biographies * work.draws * BIOGRAPHY
    taken = {
        "training": seconds["training", "packed"] * work.tuned / whole.packed,
        "training, padded": seconds["training", "padded"] * work.tuned_padded / whole.padded,
        "short answers": seconds["peaked answers", "tree"] * work.answered,
        "short answers, generate": seconds["peaked answers", "generate"] * work.answered,
        "biographies": written.seconds * tokens / max(1, written.tokens),
    }
    return {kind: value / 3600 for kind, value in taken.items()}


def row_of(shape: str, dtype: str, cell: Cell, peak: float | None) -> dict[str, object]:
    """A cell as the table shows it."""
    if not cell.fits:
        return dict.fromkeys(COLUMNS, "") | {
            "shape": shape, "dtype": dtype, "work": cell.work, "way": cell.way,
            "seconds": "out of memory",
        }  # fmt: skip
    rate = cell.flops / cell.seconds / 1e12
    values = (
        shape, dtype, cell.work, cell.way, f"{cell.tokens:,}", f"{cell.seconds:.2f}",
        f"{cell.tokens / cell.seconds:,.0f}", f"{rate:.3g}",
        f"{rate / peak:.0%}" if peak else "", f"{cell.memory:.1f}",
    )  # fmt: skip
    return dict(zip(COLUMNS, (str(v).replace("nan", "") for v in values), strict=True))


def report(arguments: argparse.Namespace, device: torch.device) -> Iterator[str]:
    """The Markdown of what is measured, table by table."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else f"CPU (threads: {arguments.threads})"
    known = next((peaks for part, peaks in PEAKS.items() if part in name), {})
    plan = read_plan(ROOT / "config" / "paper.yaml")
    by_task = sizes(plan, paper_chat())
    work, whole = work_of(plan, by_task), sizes_of_tunings(plan, by_task)["all"]
    rows, hours = [], []
    for shape in arguments.shape or (["7b", "13b"] if on_gpu else ["small"]):
        for dtype in arguments.dtype or ["bfloat16", "float32"]:
            cells = cells_of(LLAMA[shape], dtype, device, arguments.draws, arguments.max_tokens)
            freed()
            peak = arguments.peak or known.get(dtype)
            rows += [row_of(shape, dtype, cell, peak) for cell in cells or [ABSENT]]
            if cells:
                taken = projected(work, whole, cells)
                shown = {
                    f"{kind}, h": f"{value:.2f}".replace("nan", "") for kind, value in taken.items()
                }
                hours.append({"shape": shape, "dtype": dtype, **shown})
    yield f"{name}; torch {torch.__version__}, transformers {transformers.__version__}"
    yield markdown(rows)
    yield (
        f"config/paper.yaml for one model of this shape and one seed, {arguments.draws:,} short "
        f"answers of {arguments.max_tokens} tokens to each prompt, loading left out:"
    )
    if hours:
        yield markdown(hours)


def main() -> None:
    """Read the arguments, measure, print the tables and write them to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", action="append", choices=LLAMA, help="repeat")
    parser.add_argument("--dtype", action="append", choices=["bfloat16", "float32"], help="repeat")
    parser.add_argument("--peak", type=float, help="the device's dense TFLOP/s")
    parser.add_argument("--draws", type=int, help="default: 1,000; 200 on a CPU")
    parser.add_argument("--max-tokens", type=int, default=8, help="of a short answer")
    parser.add_argument("--threads", type=int, default=2, help="on a CPU")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    arguments.draws = arguments.draws or (1000 if device.type == "cuda" else 200)
    text = "\n\n".join(report(arguments, device))
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
