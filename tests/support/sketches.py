"""Records of the shipped task of biographies, and datasets of them, for the tests."""

from pathlib import Path

from diffuselm.files.schemas import SAMPLES
from diffuselm.files.tables import write_rows
from diffuselm.measure.datasets import write_records
from diffuselm.measure.records import frame_of, records_schema
from diffuselm.tasks.target_sets import write_targets
from diffuselm.tasks.task_files import load_task

TASKS = Path(__file__).parents[2] / "resources/tasks"
[SKETCH] = load_task(TASKS / "biographies.yaml")
BIOGRAPHIES = records_schema(SKETCH.records)


def biographies_of(samples):
    """The biographies among samples, as they are measured."""
    return frame_of(samples, "biographies", {SKETCH.id: SKETCH})


def write_dataset(rows, out, task=TASKS / "biographies.yaml", records=1000, further=()):
    """Write the dataset of some answers (and of further ones, a file each) through its stage."""
    targets = out.parent / "targets" / f"{task.stem}.parquet"
    write_targets(task=task, seed=1, out=targets)
    files = []
    for number, its in enumerate((rows, *further)):
        files.append(out.parent / f"samples-{number}.parquet")
        write_rows(files[-1], its, SAMPLES)
    write_records(samples=files[0], drawn=files[1:], targets=targets, records=records, out=out)
