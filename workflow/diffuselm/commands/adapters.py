"""Commands on tuned adapters: model cards, and merging into the base model."""

from pathlib import Path
from typing import Annotated

import typer

from diffuselm.commands.shared import (
    Folder,
    Metrics,
    ModelRecord,
    Targets,
    Tasks,
    Threads,
    app,
    set_threads,
)


@app.command()
def model_cards(
    adapter: Annotated[list[Path], typer.Option(help="Adapter folder; repeat.")],
    metrics: Metrics,
    task: Tasks,
    targets: Targets,
    baseline: Annotated[str, typer.Option(help="The tuning to compare with.")] = "base",
) -> None:
    """Write a model card into each adapter folder of one model."""
    from diffuselm.stages.model_cards import run

    run(adapters=adapter, metrics=metrics, tasks=task, targets=targets, baseline=baseline)


@app.command()
def merge(
    model_record: ModelRecord,
    adapter: Annotated[Path, typer.Option(help="Adapter folder.")],
    out: Folder,
    threads: Threads = 1,
) -> None:
    """Write the base model with an adapter merged into it, as a model folder."""
    set_threads(threads)
    from diffuselm.stages.merge import run

    run(model_record=model_record, adapter=adapter, out=out)
