"""Stage `measure`, before its metrics: the biographies that one model and tuning wrote."""

from pathlib import Path

from diffuselm.errors import InputError
from diffuselm.files import contracts
from diffuselm.measure.biographies import dataset, write_dataset
from diffuselm.tasks.tasks import task_of


def run(*, samples: Path, out: Path) -> None:
    """Write the answers to prompts of the task biographies to `out` and, as JSON lines, beside it.

    Raises InputError where `samples` has none.
    """
    drawn = contracts.read_table(samples, contracts.SAMPLES).to_pandas()
    answers = drawn[drawn["prompt"].map(task_of) == "biographies"]
    if answers.empty:
        raise InputError(
            f"{samples}: prompts are {sorted(drawn['prompt'].unique())}; "
            "expected one of task biographies"
        )
    write_dataset(dataset(answers), out.with_suffix(""))
