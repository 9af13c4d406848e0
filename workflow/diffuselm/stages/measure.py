"""Stage `measure`, first step: the metrics of every tuning of one model."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from diffuselm.files import contracts
from diffuselm.files.provenance import read_json
from diffuselm.files.runs import HELD, is_held, split_run
from diffuselm.measure.biography_metrics import measure_biographies
from diffuselm.measure.metrics import measure


def run(
    *,
    samples: Sequence[Path],
    exact: Sequence[Path],
    text: Sequence[Path],
    adapters: Sequence[Path],
    biographies: Sequence[Path],
    sweep: Path | None,
    baseline: str,
    targets: Sequence[Path],
    natural: Path,
    seed: int,
    out: Path,
) -> None:
    """Write the metrics of one model's runs; files and adapters are named MODEL/RUN.

    `samples`, `exact` and `text` are of the same runs, in the same order; `seed` is the first;
    `sweep` is of the tuning `baseline`.
    """
    names = contracts.read_table(natural, contracts.NATURAL).to_pandas()
    target_sets = contracts.concatenate(targets, contracts.TARGETS).to_pandas()
    frames = []
    for run_files in zip(samples, exact, text, strict=True):
        frames += _of_run(*run_files, target_sets, names, seed)
    for adapter in adapters:
        record = read_json(adapter / "run.json")
        n = record["parameters"]
        share = record["tuned_parameters"] / n
        frames.append(_row(adapter, "adapter", "trainable_share", share, n, seed))
    if sweep is not None:
        frames += _of_sweep(sweep, baseline, target_sets, names, seed)
    frames += _of_biographies(biographies, seed)
    contracts.write_table(out, pd.concat(frames, ignore_index=True), contracts.METRICS)


def _of_run(
    samples: Path,
    exact: Path,
    text: Path,
    targets: pd.DataFrame,
    natural: pd.DataFrame,
    seed: int,
) -> Iterator[pd.DataFrame]:
    """What was sampled and scored, and the loss on held-out text where there is one."""
    drawn = contracts.read_table(samples, contracts.SAMPLES).to_pandas()
    scored = contracts.read_table(exact, contracts.EXACT).to_pandas()
    tuning, own_seed = split_run(samples.stem, seed)
    names = {"model": samples.parent.name, "tuning": tuning, "seed": own_seed}
    yield measure(drawn, scored, targets, natural, **names)
    paragraphs = contracts.read_table(text, contracts.TEXT).to_pandas()
    if len(paragraphs):
        tokens = int(paragraphs["tokens"].sum())
        loss = -paragraphs["log_prob"].sum() / tokens
        yield _row(text, "text", "loss_per_token", loss, tokens, seed)


def _of_sweep(
    sweep: Path, tuning: str, targets: pd.DataFrame, natural: pd.DataFrame, seed: int
) -> Iterator[pd.DataFrame]:
    samples = contracts.read_table(sweep, contracts.SWEEP).to_pandas()
    nothing = contracts.EXACT.empty_table().to_pandas()
    for temperature, drawn in samples.groupby("temperature"):
        field = f"temperature {temperature:g}"
        names = {"model": sweep.stem, "tuning": tuning, "seed": seed, "field": field}
        yield measure(drawn, nothing, targets, natural, **names)


def _of_biographies(paths: Sequence[Path], seed: int) -> Iterator[pd.DataFrame]:
    """Each run's biographies, against what was commonest before tuning, under the same seed.

    Those that are held to the form, against what was commonest when `base` was held to it.
    """
    by_run = {
        split_run(path.stem, seed): contracts.read_table(path, contracts.BIOGRAPHIES).to_pandas()
        for path in paths
    }
    for (tuning, own_seed), written in by_run.items():
        names = {"model": paths[0].parent.name, "tuning": tuning}
        before = HELD if is_held(tuning) else "base"
        yield measure_biographies(written, by_run.get((before, own_seed)), **names)


def _row(path: Path, task: str, metric: str, value: float, n: int, seed: int) -> pd.DataFrame:
    """One number that is exact, so that its interval is itself."""
    # The folder of an adapter has no suffix to take off, but may have a dot.
    name = path.name.removesuffix(".parquet")
    tuning, seed = split_run(name, seed)
    row = {"model": path.parent.name, "tuning": tuning, "task": task, "prompt": None}
    row |= {"field": "value", "metric": metric, "value": value, "ci_low": value, "ci_high": value}
    return pd.DataFrame([row | {"n": n, "seed": seed}])
