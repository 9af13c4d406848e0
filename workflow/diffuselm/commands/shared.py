"""What the commands share: the application, and options that several of them take."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from diffuselm.errors import InputError
from diffuselm.tasks.prompt_files import task_name

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Stages of the workflow: files in, files out. Snakemake runs them; so can you.",
)

ModelRecord = Annotated[Path, typer.Option(help="The model's record.")]
Tuning = Annotated[str, typer.Option(help="What the adapter is tuned on, for seeds.")]
Adapter = Annotated[Path | None, typer.Option(help="Adapter folder; none for base.")]
Checkpoint = Annotated[Path, typer.Option(help="Where to keep what is done on the way.")]
MaxTokensOf = Annotated[list[str], typer.Option(help="TASK=N tokens of an answer; repeat.")]
MaxTokens = Annotated[int, typer.Option(help="Longest answer.")]
Threads = Annotated[int, typer.Option(help="CPU threads; results depend on it in the last bits.")]
Seed = Annotated[int, typer.Option(help="The config's seed.")]
Out = Annotated[Path, typer.Option(help="What to write.")]
Folder = Annotated[Path, typer.Option(help="Folder to write into.")]
Metrics = Annotated[Path, typer.Option(help="metrics.parquet.")]
Records = Annotated[list[Path], typer.Option(help="A model's record; repeat.")]
Tasks = Annotated[list[Path], typer.Option(help="Task file or folder; repeat.")]
Targets = Annotated[list[Path], typer.Option(help="Target sets of the tasks; repeat.")]
Draws = Annotated[int, typer.Option(help="Answers per prompt.")]
TokenBudget = Annotated[int | None, typer.Option(help="Tokens in memory; default: what fits.")]
Natural = Annotated[Path, typer.Option(help="Natural distribution of names.")]
Names = Annotated[Path, typer.Option(help="run.json of the natural distribution.")]
Published = Annotated[Path, typer.Option(help="The paper's numbers.")]
Biographies = Annotated[list[Path], typer.Option(help="Parsed biographies; repeat.")]


def pairs(option: str, given: list[str] | None, read: Callable[[str], Any]) -> dict[str, Any]:
    """Read the KEY=VALUE of an option that repeats."""
    try:
        return {key: read(value) for key, _, value in (each.partition("=") for each in given or [])}
    except ValueError as error:
        raise InputError(f"{option}: found {given!r} ({error}); expected KEY=VALUE") from error


def of_tasks(option: str, given: list[str], tasks: Sequence[Path]) -> dict[str, int]:
    """Read the TASK=N of an option that repeats, one for every task."""
    numbers = pairs(option, given, int)
    if absent := {task_name(task) for task in tasks} - numbers.keys():
        raise InputError(f"{option}: nothing for {min(absent)}; expected TASK=N for every task")
    return numbers


def set_threads(threads: int) -> None:
    """Before torch is first used: one number of threads, whatever the machine has."""
    import torch

    torch.set_num_threads(threads)
