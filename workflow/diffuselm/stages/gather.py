"""Stages `sample` and `score`, last step: one file per model and tuning from its tasks' parts."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm import contracts
from diffuselm.provenance import read_json, write_json


def run(*, parts: Sequence[Path], samples: Path, exact: Path) -> None:
    """Concatenate the parts' samples and exact probabilities, with their run.json records."""
    for name, out, schema in (
        ("samples.parquet", samples, contracts.SAMPLES),
        ("exact.parquet", exact, contracts.EXACT),
    ):
        table = contracts.concatenate([part / name for part in parts], schema)
        contracts.write_table(out, table, schema)
    records = {part.name: read_json(part / "run.json") for part in parts}
    write_json(samples.with_suffix(".run.json"), records)
