"""Stage `measure`, first step: the metrics of every tuning of one model."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from diffuselm import contracts
from diffuselm.metrics import measure


def run(
    *,
    samples: Sequence[Path],
    exact: Sequence[Path],
    targets: Sequence[Path],
    seed: int,
    out: Path,
) -> None:
    """Write the metrics of runs whose files are named MODEL/TUNING.parquet."""
    target_sets = contracts.concatenate(targets, contracts.TARGETS).to_pandas()
    frames = [
        measure(
            contracts.read_table(sampled, contracts.SAMPLES).to_pandas(),
            contracts.read_table(scored, contracts.EXACT).to_pandas(),
            target_sets,
            model=sampled.parent.name,
            tuning=sampled.stem,
            seed=seed,
        )
        for sampled, scored in zip(samples, exact, strict=True)
    ]
    contracts.write_table(out, pd.concat(frames, ignore_index=True), contracts.METRICS)
