"""Commands on data alone: names, target sets, biographies, metrics."""

from pathlib import Path
from typing import Annotated

import typer

from diffuselm.commands.shared import (
    Natural,
    Out,
    Seed,
    Targets,
    Tasks,
    app,
)


@app.command()
def names(
    out: Out,
    archive: Annotated[Path, typer.Option(help="Where a downloaded names.zip is kept.")],
    source: Annotated[str, typer.Option(help="embedded, ssa or file.")] = "embedded",
    year: Annotated[int, typer.Option(help="Year of birth, for ssa and file.")] = 2022,
    file: Annotated[Path | None, typer.Option(help="names.zip or yobYYYY.txt, for file.")] = None,
) -> None:
    """Write the natural distribution of names."""
    from diffuselm.stages.names import run

    run(source=source, year=year, file=file, archive=archive, out=out)


@app.command()
def ranges(
    high: Annotated[list[int], typer.Option(help="Highest number, from 1; repeat.")],
    size: Annotated[list[int], typer.Option(help="Numbers in a random range; repeat.")],
    versions: Annotated[int, typer.Option(help="Random ranges of each size.")],
    seed: Seed,
    out: Out,
) -> None:
    """Write the task file of Figure 2's random ranges."""
    from diffuselm.stages.ranges import run

    run(highs=high, sizes=size, versions=versions, seed=seed, out=out)


@app.command()
def targets(
    task: Annotated[Path, typer.Option(help="Task file.")],
    seed: Seed,
    out: Out,
    natural: Annotated[Path | None, typer.Option(help="Natural distribution of names.")] = None,
) -> None:
    """Write the target sets of one task."""
    from diffuselm.stages.targets import run

    run(task=task, natural=natural, seed=seed, out=out)


@app.command()
def biographies(
    samples: Annotated[Path, typer.Option(help="Answers of one model and tuning.")], out: Out
) -> None:
    """Parse biographies into a table, a row each."""
    from diffuselm.stages.biographies import run

    run(samples=samples, out=out)


@app.command()
def measure(
    samples: Annotated[list[Path], typer.Option(help="MODEL/TUNING.parquet; repeat.")],
    exact: Annotated[list[Path], typer.Option(help="Likewise, in the same order.")],
    text: Annotated[list[Path], typer.Option(help="Likewise, in the same order.")],
    targets: Targets,
    natural: Natural,
    seed: Seed,
    out: Out,
    adapter: Annotated[list[Path] | None, typer.Option(help="Adapter folder; repeat.")] = None,
    biography: Annotated[list[Path] | None, typer.Option(help="Parsed ones; repeat.")] = None,
    sweep: Annotated[Path | None, typer.Option(help="Answers at other temperatures.")] = None,
    baseline: Annotated[str, typer.Option(help="The tuning that was swept.")] = "base",
) -> None:
    """Compute every metric of one model's tunings, each with its interval."""
    from diffuselm.stages.measure import run

    run(
        samples=samples,
        exact=exact,
        text=text,
        adapters=adapter or [],
        biographies=biography or [],
        sweep=sweep,
        baseline=baseline,
        targets=targets,
        natural=natural,
        seed=seed,
        out=out,
    )


@app.command()
def metrics(
    part: Annotated[list[Path], typer.Option(help="Metrics of one model; repeat.")],
    task: Tasks,
    targets: Targets,
    natural: Natural,
    draws: Annotated[int, typer.Option(help="Draws of the natural references.")],
    seed: Seed,
    out: Out,
) -> None:
    """Gather the metrics of all models, and measure the natural references."""
    from diffuselm.stages.metrics import run

    run(
        parts=part,
        tasks=task,
        targets=targets,
        natural=natural,
        draws=draws,
        seed=seed,
        out=out,
    )
