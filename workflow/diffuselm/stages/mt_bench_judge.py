"""Stage `mt_bench`, last step: the judge's verdicts on one model and tuning, and their metrics."""

from pathlib import Path

import pyarrow as pa

from diffuselm.files import contracts
from diffuselm.measure.judge import VERDICTS, Judge, grade, measure_verdicts
from diffuselm.measure.mt_bench import ANSWERS, read_questions


def run(
    *, questions: Path, answers: Path, judge: Judge, seed: int, verdicts: Path, metrics: Path
) -> None:
    """Write the verdicts on answers in a file named MODEL/TUNING.parquet, and their metrics."""
    answered = contracts.read_table(answers, ANSWERS).to_pandas()
    rows = list(grade(judge, read_questions(questions), answered))
    table = pa.Table.from_pylist(rows, schema=VERDICTS)
    measured = measure_verdicts(
        table.to_pandas(), model=answers.parent.name, tuning=answers.stem, seed=seed
    )
    contracts.write_table(verdicts, table, VERDICTS)
    contracts.write_table(metrics, measured, contracts.METRICS)
