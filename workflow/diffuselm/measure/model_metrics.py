"""Stage `measure`: the metrics of all that one model did, before and after each tuning."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from diffuselm.files.json_files import read_json
from diffuselm.files.runs import HELD, is_held, split_run
from diffuselm.files.schemas import BIOGRAPHIES, EXACT, METRICS, NATURAL, SAMPLES, SWEEP, TEXT
from diffuselm.files.tables import read_table, write_table
from diffuselm.measure.biography_metrics import measure_biographies
from diffuselm.measure.metrics import Estimate, exactly, metric_rows
from diffuselm.measure.prompt_metrics import measure
from diffuselm.tasks.target_sets import read_prompts

UNSCORED = EXACT.empty_table().to_pandas()


def measure_model(
    *,
    samples: list[Path],
    exact: list[Path],
    text: list[Path],
    adapters: list[Path],
    biographies: list[Path],
    sweep: list[Path],
    baseline: str = "base",
    targets: list[Path],
    natural: Path,
    seed: int,
    out: Path,
) -> None:
    """Write the metrics of one model; files are named MODEL/RUN, but those of adapters run.json.

    `samples`, `exact` and `text` are of the same runs, in the same order; `seed` is the config's
    first; `sweep`, a file or none, has answers of the tuning `baseline` at other temperatures.
    """
    births = read_table(natural, NATURAL).to_pandas()
    # Of the prompts whose targets are whole answers: not the openings of biographies.
    texts = {p.id: {*p.targets.texts} for p in read_prompts(targets) if p.fields == 1}
    known = texts, dict(zip(births["name"], births["probability"], strict=True))
    frames = []
    for answers, scores, paragraphs in zip(samples, exact, text, strict=True):
        drawn = read_table(answers, SAMPLES).to_pandas()
        scored = read_table(scores, EXACT).to_pandas()
        frames.append(measure(drawn, scored, *known, **_run(answers, seed)))
        losses = read_table(paragraphs, TEXT).to_pandas()
        if len(losses):
            frames.append(_row("text", "loss_per_token", loss_per_token(losses), paragraphs, seed))
    for run in adapters:
        share = trainable_share(run)
        frames.append(_row("adapter", "trainable_share", share, run.parent, seed))
    for path in sweep:
        ids = {"model": path.stem, "tuning": baseline, "seed": seed}
        swept = read_table(path, SWEEP).to_pandas()
        for temperature, drawn in swept.groupby("temperature"):
            field = f"temperature {temperature:g}"
            frames.append(measure(drawn, UNSCORED, *known, **ids, field=field))
    frames += _of_biographies(biographies, seed)
    write_table(out, pd.concat(frames, ignore_index=True), METRICS)


def loss_per_token(paragraphs: pd.DataFrame) -> Estimate:
    """Mean loss (nats) on the tokens of a held-out text, rows of `TEXT` (Figure 6)."""
    tokens = int(paragraphs["tokens"].sum())
    return exactly(-paragraphs["log_prob"].sum() / tokens, tokens)


def trainable_share(run: Path) -> Estimate:
    """Share of the parameters that tuning an adapter trains (footnote 4), from its run.json."""
    record = read_json(run)
    return exactly(record["tuned_parameters"] / record["parameters"], record["parameters"])


def _of_biographies(paths: Sequence[Path], seed: int) -> Iterator[pd.DataFrame]:
    """Each run's biographies, against what was commonest before tuning, under the same seed.

    Those that are held to the form, against what was commonest when `base` was held to it.
    """
    by_run = {
        split_run(path.stem, seed): read_table(path, BIOGRAPHIES).to_pandas() for path in paths
    }
    for (tuning, own_seed), written in by_run.items():
        before = by_run.get((HELD if is_held(tuning) else "base", own_seed))
        yield measure_biographies(written, before, model=paths[0].parent.name, tuning=tuning)


def _row(task: str, metric: str, found: Estimate, path: Path, seed: int) -> pd.DataFrame:
    ids = {"task": task, "prompt": None, "metric": metric}
    return metric_rows([found._asdict()], **ids, **_run(path, seed))


def _run(path: Path, seed: int) -> dict:
    """Model, tuning and seed of a file or folder named MODEL/RUN."""
    # The folder of an adapter has no suffix to take off, but may have a dot.
    tuning, own_seed = split_run(path.name.removesuffix(".parquet"), seed)
    return {"model": path.parent.name, "tuning": tuning, "seed": own_seed}
