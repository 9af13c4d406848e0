"""Commands that render: scorecard, tables, figures."""

from pathlib import Path
from typing import Annotated

import typer

from diffuselm.commands.shared import (
    Biographies,
    Folder,
    Metrics,
    Names,
    Natural,
    Published,
    Records,
    Seed,
    app,
)


@app.command()
def tables(
    metrics: Metrics,
    record: Records,
    published: Published,
    names: Names,
    out: Folder,
) -> None:
    """Render the tables."""
    from diffuselm.stages.tables import run

    run(metrics=metrics, records=record, published=published, names=names, out=out)


@app.command()
def biography_tables(
    metrics: Metrics,
    biographies: Biographies,
    record: Records,
    published: Published,
    task: Annotated[Path, typer.Option(help="Task file of the biographies.")],
    seed: Seed,
    out: Folder,
) -> None:
    """Render tables 1, 2, 3, 7 and 8."""
    from diffuselm.stages.biography_tables import run

    run(
        metrics=metrics,
        biographies=biographies,
        records=record,
        published=published,
        task=task,
        seed=seed,
        out=out,
    )


@app.command()
def scorecard(
    metrics: Metrics,
    record: Records,
    published: Published,
    claims: Annotated[Path, typer.Option(help="The paper's claims.")],
    names: Names,
    out: Folder,
) -> None:
    """Hold the paper's claims against what was measured."""
    from diffuselm.stages.scorecard import run

    run(
        metrics=metrics,
        records=record,
        published=published,
        claims=claims,
        names=names,
        out=out,
    )


@app.command()
def figure_1(
    samples: Annotated[list[Path], typer.Option(help="MODEL/TUNING.parquet; repeat.")],
    record: Records,
    natural: Natural,
    targets: Annotated[Path, typer.Option(help="Target sets of the task numbers.")],
    out: Folder,
) -> None:
    """Render Figure 1."""
    from diffuselm.stages.figure_1 import run

    run(samples=samples, records=record, natural=natural, targets=targets, out=out)


@app.command()
def figure_2(metrics: Metrics, record: Records, out: Folder) -> None:
    """Render Figure 2."""
    from diffuselm.stages.figure_2 import run

    run(metrics=metrics, records=record, out=out)


@app.command()
def figure_3(metrics: Metrics, record: Records, out: Folder) -> None:
    """Render Figure 3."""
    from diffuselm.stages.figure_3 import run

    run(metrics=metrics, records=record, out=out)


@app.command()
def figure_4(metrics: Metrics, record: Records, out: Folder) -> None:
    """Render Figure 4."""
    from diffuselm.stages.figure_4 import run

    run(metrics=metrics, records=record, out=out)


@app.command()
def figure_5(biographies: Biographies, record: Records, out: Folder) -> None:
    """Render Figure 5."""
    from diffuselm.stages.figure_5 import run

    run(biographies=biographies, records=record, out=out)


@app.command()
def figure_6(metrics: Metrics, record: Records, out: Folder) -> None:
    """Render Figure 6."""
    from diffuselm.stages.figure_6 import run

    run(metrics=metrics, records=record, out=out)


@app.command()
def report_pages(
    table: Annotated[list[Path], typer.Option(help="Scorecard or table in Markdown; repeat.")],
    out: Folder,
) -> None:
    """Make pages of the report: scorecard and tables as HTML."""
    from diffuselm.stages.report_pages import run

    run(tables=table, out=out)


@app.command()
def publish(
    results: Annotated[Path, typer.Option(help="Results of a run.")],
    out: Folder,
) -> None:
    """Copy scorecard, tables and figures for a repository, with what made them."""
    from diffuselm.stages.publish import run

    run(results=results, out=out)
