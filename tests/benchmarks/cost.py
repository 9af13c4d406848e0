"""What a run at the paper's scale costs: tokens read, counted, and GPU hours at stated rates.

    python tests/benchmarks/cost.py [--config FILE] [--float32 TFLOPS] [--bfloat16 TFLOPS]

Needs neither the models nor a GPU: tokens are those of Mistral's first tokenizer, for all models.
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paper import ROOT, SHAPES, encoded, paper_chat, parameters, prompts_of, read_plan

from diffuselm.model.chat import ChatFormat
from diffuselm.plan.plan import Plan

BYTES = {"float32": 4, "bfloat16": 2}
TUNING, FORWARD = 4, 2  # FLOPs for each weight and token: LoRA needs no gradient of the weights
# Distinct prefixes of 1,000 answers to one prompt: the most that tuned stand-ins showed, rounded;
# of ranges and knowledge a guess.
PREFIXES = {
    "names": 1700, "occupations": 1400, "fruits": 800, "countries": 400, "numbers": 120,
    "dates": 80, "ranges": 300, "knowledge": 120,
}  # fmt: skip
BIOGRAPHY = 130  # tokens


@dataclass(frozen=True)
class Size:
    """One pass over the prompts of a tuning, in tokens that a forward pass reads."""

    prompts: int
    targets: int
    packed: int
    padded: int  # one row per target, without any padding

    def __add__(self, other: "Size") -> "Size":
        """Both together."""
        mine, its = vars(self), vars(other)
        return Size(**{name: mine[name] + its[name] for name in mine})


@dataclass(frozen=True)
class Work:
    """What one model reads under one seed, in tokens, and how often its weights are gone over."""

    steps: int  # of the optimiser
    tuned: int  # tokens, packed
    tuned_padded: int  # the same training by padded rows
    answered: int  # prompts answered with short answers
    sampled: int  # tokens of these answers and prompts
    scored: int
    biographies: int  # runs that write them
    draws: int
    rows: int  # biographies that grow side by side
    loads: int  # processes that load the weights


def sizes(plan: Plan, chat: ChatFormat) -> dict[str, dict[str, Size]]:
    """Task -> prompt -> its size."""
    found: dict[str, dict[str, Size]] = {}
    for task in plan.task_files:
        for prompt in prompts_of(plan, task):
            its = encoded(chat, prompt, plan.config.seed)
            read, leaves = len(its.tokens), its.tree.leaf
            size = Size(1, len(leaves), read + len(its.tree.inner),
                        read * len(leaves) + int(its.tree.depth[leaves].sum()))  # fmt: skip
            found.setdefault(task, {})[prompt.id] = size
    return found


def sizes_of_tunings(plan: Plan, by_task: dict[str, dict[str, Size]]) -> dict[str, Size]:
    """Tuning -> size of one pass."""
    by_prompt = {id: size for its in by_task.values() for id, size in its.items()}
    return {
        tuning: sum((by_prompt[id] for id in ids), Size(0, 0, 0, 0))
        for tuning, ids in plan.tuned_on.items()
    }


def work_of(plan: Plan, by_task: dict[str, dict[str, Size]]) -> Work:
    """Count one model's work under one seed; no tuning is taken to stop early."""
    config = plan.config
    passes = {t: config.tune.passes_of.get(t, config.tune.passes) for t in plan.tuned_on}
    tunings = sizes_of_tunings(plan, by_task)
    model = next(iter(config.models))
    asked = [plan.measured(model, tuning) for tuning in plan.tunings(model)]
    measured = [task for its in asked for task in its]
    short = [task for its in asked for task in its if its[task] and task != "biographies"]
    hot = len(plan.swept) * len(config.temperatures)
    return Work(
        steps=sum(tunings[t].prompts * passes[t] for t in tunings),
        tuned=sum(tunings[t].packed * passes[t] for t in tunings),
        tuned_padded=sum(tunings[t].padded * passes[t] for t in tunings),
        answered=sum(len(by_task[task]) for task in short) + hot,
        # Hot answers share nothing and go on to the longest.
        sampled=sum(len(by_task[task]) * PREFIXES.get(task, 1700) for task in short)
        + hot * config.sample.draws * config.sample.max_tokens,
        scored=sum(size.packed for task in measured for size in by_task[task].values()),
        biographies=len(plan.recorded(model, "biographies")),
        draws=config.sample.draws,
        rows=(config.sample.token_budget or 8192) // plan.longest["biographies"],
        loads=len(plan.tuned_on) + len(asked) + 1,
    )


def hours(work: Work, weights: int, dtype: str, rates: argparse.Namespace) -> dict[str, float]:
    """GPU hours of each kind of work: the longer of computing and of reading the weights."""
    size = weights * BYTES[dtype]

    def taken(flops: int, tokens: float, passes: float) -> float:
        computing = flops * weights * tokens / (getattr(rates, dtype) * 1e12)
        return max(computing, flops / 2 * size * passes / (rates.bandwidth * 1e12)) / 3600

    written = work.biographies * work.draws * BIOGRAPHY
    levels = 32 * work.answered  # no answer has more tokens
    return {
        "training": taken(TUNING, work.tuned, work.steps),
        "training, padded": taken(TUNING, work.tuned_padded, work.steps),
        "sampling and scoring": taken(FORWARD, work.sampled + work.scored, levels)
        + taken(FORWARD, written, written / work.rows),
        "loading": work.loads * size / (rates.disk * 1e9) / 3600,
    }


def markdown(rows: Sequence[dict[str, object]]) -> str:
    """A Markdown table of rows with the same keys."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def tuning_table(plan: Plan, tunings: dict[str, Size]) -> str:
    """The tokens of one pass of each tuning, packed and padded."""
    rows = []
    for tuning, size in tunings.items():
        passes = plan.config.tune.passes_of.get(tuning, plan.config.tune.passes)
        rows.append({
            "tuning": tuning, "prompts": size.prompts, "targets": size.targets,
            "tokens of a pass": f"{size.packed:,}", "padded": f"{size.padded:,}",
            "ratio": f"{size.padded / size.packed:.1f}x", "passes": passes,
            "in all": f"{passes * size.packed / 1e6:.2f} M",
        })  # fmt: skip
    return markdown(rows)


def hours_table(plan: Plan, work: Work, rates: argparse.Namespace) -> str:
    """GPU hours of each model and dtype, over all seeds."""
    repeats, rows = getattr(plan.config, "repeats", 1), []
    for dtype in BYTES:
        sums: Counter[str] = Counter()
        for name, model in plan.config.models.items():
            shape = SHAPES.get(model.paper_model)
            weights = parameters(shape) if shape else int(model.billions * 1e9)
            taken = {k: v * repeats for k, v in hours(work, weights, dtype, rates).items()}
            taken["total"] = sum(v for k, v in taken.items() if k != "training, padded")
            sums.update(taken)
            rows.append(_row(name, dtype, f"{weights / 1e9:.2f} B", taken))
        rows.append(_row("all", dtype, "", sums))
    return markdown(rows)


def _row(name: str, dtype: str, weights: str, taken: Mapping[str, float]) -> dict[str, object]:
    shown = {f"{kind}, h": f"{value:.2f}" for kind, value in taken.items()}
    return {"model": name, "dtype": dtype, "weights": weights, **shown}


def assumptions(plan: Plan, work: Work, rates: argparse.Namespace) -> str:
    """What the numbers rest on."""
    stops = [tuning for tuning in plan.tuned_on if plan.config.tune.of_tuning(tuning).stop_ratio]
    repeats = getattr(plan.config, "repeats", 1)
    answers = ", ".join(f"{task} {count}" for task, count in PREFIXES.items())
    return f"""\
- Tokens: those of Mistral-7B-Instruct-v0.1's tokenizer and chat format, for all models; names are
  those of the embedded list.
- Every pass of every tuning is run (an upper bound: {", ".join(stops)} may stop early).
- FLOPs: {TUNING} for each weight and token in training (forward, and backward to the activations:
  the base weights need no gradient), {FORWARD} in sampling and scoring, the head at every token;
  attention, adapters and optimiser are left out.
- Sustained: {rates.float32:g} TFLOP/s in float32, {rates.bfloat16:g} in bfloat16; weights read
  from memory at {rates.bandwidth:g} TB/s, once in each forward and in each backward pass; each kind
  of work takes the longer of the two. Loaded from disk at {rates.disk:g} GB/s, {work.loads} times.
- 1,000 short answers to a prompt forward as many distinct prefixes as the stand-ins' did, those to
  ranges and knowledge as many as was guessed
  ({answers}); those at other temperatures share nothing. A biography has {BIOGRAPHY} tokens, and
  {work.rows} grow side by side.
- Padded rows are counted without their padding; each reads the prompt anew.
- {repeats} seed{"s" * (repeats > 1)}; MT-Bench and the held-out text are left out."""


def main() -> None:
    """Read the arguments, count, and print both tables and what they assume."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=ROOT / "config" / "paper.yaml")
    parser.add_argument("--float32", type=float, default=40, help="TFLOP/s sustained")
    parser.add_argument("--bfloat16", type=float, default=200, help="TFLOP/s sustained")
    parser.add_argument("--bandwidth", type=float, default=2, help="TB/s sustained, of the memory")
    parser.add_argument("--disk", type=float, default=1, help="GB/s, of loading the weights")
    rates = parser.parse_args()
    plan, chat = read_plan(rates.config), paper_chat()
    by_task = sizes(plan, chat)
    work = work_of(plan, by_task)
    print(f"{rates.config.name}: {len(plan.config.models)} models, {len(plan.tuned_on)} tunings\n")
    print(tuning_table(plan, sizes_of_tunings(plan, by_task)), end="\n\n")
    print(hours_table(plan, work, rates), end="\n\n")
    print(assumptions(plan, work, rates))


if __name__ == "__main__":
    main()
