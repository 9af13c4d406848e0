"""Stage `measure`: the metrics of all that one model did, before and after each tuning."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from diffuselm.files.json_files import read_json
from diffuselm.files.runs import HELD, is_held, split_run
from diffuselm.files.schemas import EXACT, METRICS, NATURAL, SAMPLES, SWEEP, TEXT
from diffuselm.files.tables import read_table, write_table
from diffuselm.measure.metrics import Estimate, exactly, metric_rows
from diffuselm.measure.prompt_metrics import measure
from diffuselm.measure.record_metrics import measure_records
from diffuselm.measure.records import frame_of
from diffuselm.tasks.prompts import Prompt, task_of
from diffuselm.tasks.target_sets import read_prompts

UNSCORED = EXACT.empty_table().to_pandas()


def measure_model(
    *,
    samples: list[Path],
    exact: list[Path],
    text: list[Path],
    adapters: list[Path],
    sweep: list[Path],
    baseline: str = "base",
    targets: list[Path],
    natural: Path,
    seed: int,
    out: Path,
) -> None:
    """Write the metrics of one model; files are named MODEL/RUN, but those of adapters run.json.

    `samples`, `exact` and `text` are of the same runs, in the same order, and beside each of
    `samples` lies its run.json, which counts tokens. That of an adapter says under `listed` which
    targets of a prompt it was trained on, where not on all. `seed` is the config's first; `sweep`,
    a file or none, has answers of the tuning `baseline` at other temperatures.
    """
    births = read_table(natural, NATURAL).to_pandas()
    prompts = {prompt.id: prompt for prompt in read_prompts(targets)}
    # Of the prompts whose targets are whole answers: not the openings of records, nor none.
    sets = {id: prompt.targets for id, prompt in prompts.items() if prompt.records is None}
    listed = {id: its for id, its in sets.items() if its.texts}
    weights = {id: dict(zip(its.texts, its.weights, strict=True)) for id, its in listed.items()}
    known = weights, dict(zip(births["name"], births["probability"], strict=True))
    trained = {run.parent.name: run for run in adapters}
    frames = []
    for answers, scores, paragraphs in zip(samples, exact, text, strict=True):
        drawn = read_table(answers, SAMPLES).to_pandas()
        scored = read_table(scores, EXACT).to_pandas()
        told = {"tokens": read_json(answers.with_suffix(".run.json")).get("tokens")}
        if adapter := trained.get(answers.stem):
            told["listed"] = read_json(adapter).get("listed")
        frames.append(measure(drawn, scored, *known, **_run(answers, seed), **told))
        losses = read_table(paragraphs, TEXT).to_pandas()
        if len(losses):
            frames.append(_row("text", "loss_per_token", loss_per_token(losses), paragraphs, seed))
    for run in adapters:
        for metric in (trainable_share, training_tokens):
            frames.append(_row("adapter", metric.__name__, metric(run), run.parent, seed))
    for path in sweep:
        ids = {"model": path.stem, "tuning": baseline, "seed": seed}
        swept = read_table(path, SWEEP).to_pandas()
        for temperature, drawn in swept.groupby("temperature"):
            field = f"temperature {temperature:g}"
            frames.append(measure(drawn, UNSCORED, *known, **ids, field=field))
    asked = {id: prompt for id, prompt in prompts.items() if prompt.records}
    for task in dict.fromkeys(map(task_of, asked)):
        frames += _of_records(task, asked, samples, seed)
    write_table(out, pd.concat(frames, ignore_index=True), METRICS)


def loss_per_token(paragraphs: pd.DataFrame) -> Estimate:
    """Mean loss (nats) on the tokens of a held-out text, rows of `TEXT` (Figure 6)."""
    tokens = int(paragraphs["tokens"].sum())
    return exactly(-paragraphs["log_prob"].sum() / tokens, tokens)


def trainable_share(run: Path) -> Estimate:
    """Share of the parameters that tuning an adapter trains (footnote 4), from its run.json."""
    record = read_json(run)
    return exactly(record["tuned_parameters"] / record["parameters"], record["parameters"])


def training_tokens(run: Path) -> Estimate:
    """Tokens that training an adapter read, from its run.json; they are n, too."""
    tokens = read_json(run)["tokens"]
    return exactly(float(tokens), tokens)


def _of_records(
    task: str, prompts: Mapping[str, Prompt], samples: list[Path], seed: int
) -> Iterator[pd.DataFrame]:
    """Each run's records of a task, against what was commonest before tuning, under the same seed.

    Those that are held to the form, against what was commonest when `base` was held to it.
    """
    by_run = {}
    for path in samples:
        written = frame_of(read_table(path, SAMPLES).to_pandas(), task, prompts)
        if len(written):
            by_run[split_run(path.stem, seed)] = written
    records = next(prompt.records for id, prompt in prompts.items() if task_of(id) == task)
    for (tuning, own_seed), written in by_run.items():
        before = by_run.get((HELD if is_held(tuning) else "base", own_seed))
        ids = {"model": samples[0].parent.name, "tuning": tuning}
        yield measure_records(written, before, records, **ids)


def _row(task: str, metric: str, found: Estimate, path: Path, seed: int) -> pd.DataFrame:
    ids = {"task": task, "prompt": None, "metric": metric}
    return metric_rows([found._asdict()], **ids, **_run(path, seed))


def _run(path: Path, seed: int) -> dict:
    """Model, tuning and seed of a file or folder named MODEL/RUN."""
    # The folder of an adapter has no suffix to take off, but may have a dot.
    tuning, own_seed = split_run(path.name.removesuffix(".parquet"), seed)
    return {"model": path.parent.name, "tuning": tuning, "seed": own_seed}
