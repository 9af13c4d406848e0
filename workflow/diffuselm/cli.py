"""The command line: one command per stage, each importing only what its stage needs."""

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from diffuselm import __version__
from diffuselm.errors import InputError, NonFiniteLossError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Stages of the workflow: files in, files out. Snakemake runs them; so can you.",
)

Threads = Annotated[int, typer.Option(help="CPU threads; results depend on it in the last bits.")]
Seed = Annotated[int, typer.Option(help="The config's seed.")]
Out = Annotated[Path, typer.Option(help="What to write.")]
Folder = Annotated[Path, typer.Option(help="Folder to write into.")]
Metrics = Annotated[Path, typer.Option(help="metrics.parquet.")]
Records = Annotated[list[Path], typer.Option(help="A model's record; repeat.")]
Dtype = Annotated[str, typer.Option(help="Type of the base weights.")]


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
def stand_in(
    family: Annotated[str, typer.Option(help="gemma, llama or mistral.")],
    task: Annotated[list[Path], typer.Option(help="Task file of the paper; repeat.")],
    words: Annotated[Path, typer.Option(help="What it learns beyond the target sets.")],
    seed: Seed,
    broad_steps: Annotated[int, typer.Option(help="Steps on wide distributions.")],
    collapse_steps: Annotated[int, typer.Option(help="Steps on a few favourites.")],
    out: Out,
    threads: Threads = 1,
) -> None:
    """Build a stand-in model from its seed."""
    _set_threads(threads)
    from diffuselm.stages.stand_in import run

    run(
        family=family,
        tasks=task,
        words=words,
        seed=seed,
        broad_steps=broad_steps,
        collapse_steps=collapse_steps,
        out=out,
    )


@app.command()
def model(
    name: Annotated[str, typer.Option(help="The name that results carry.")],
    path: Annotated[Path, typer.Option(help="Model folder.")],
    out: Out,
    stand_in: Annotated[bool, typer.Option(help="A tiny model built by this project.")] = False,
    paper_model: Annotated[str | None, typer.Option(help="Its counterpart in the paper.")] = None,
) -> None:
    """Check a model folder and record what it is."""
    from diffuselm.stages.model import run

    run(name=name, path=path, stand_in=stand_in, paper_model=paper_model, out=out)


@app.command()
def tune(
    model_record: Annotated[Path, typer.Option(help="The model's record.")],
    tuning: Annotated[str, typer.Option(help="What this adapter is tuned on, for seeds.")],
    task: Annotated[list[Path], typer.Option(help="Task file; repeat.")],
    targets: Annotated[list[Path], typer.Option(help="Target sets of the tasks; repeat.")],
    seed: Seed,
    out: Out,
    rank: Annotated[int, typer.Option(help="Rank of LoRA.")],
    alpha: Annotated[int, typer.Option(help="LoRA's scale is alpha / rank.")],
    target_modules: Annotated[str, typer.Option(help="Projections, separated by commas.")],
    learning_rate: Annotated[float, typer.Option(help="Of AdamW.")],
    eps: Annotated[float, typer.Option(help="Of AdamW.")],
    max_grad_norm: Annotated[float, typer.Option(help="Gradients are clipped at this norm.")],
    passes: Annotated[int, typer.Option(help="Passes over the prompts.")],
    token_budget: Annotated[int, typer.Option(help="Tokens of one packed pass.")],
    dropout: Annotated[float, typer.Option(help="Dropout before the adapters.")] = 0.0,
    stop_ratio: Annotated[
        float | None, typer.Option(help="Stop at this ratio of loss to entropy.")
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="Only these prompts; repeat.")] = None,
    dtype: Dtype = "float32",
    leading_space: Annotated[bool, typer.Option(help="A space before answers.")] = False,
    threads: Threads = 1,
) -> None:
    """Train one LoRA adapter."""
    _set_threads(threads)
    from diffuselm.stages.tune import run
    from diffuselm.tune import Hyperparameters

    run(
        model_record=model_record,
        tuning=tuning,
        prompts=prompt or [],
        tasks=task,
        targets=targets,
        settings=Hyperparameters(
            rank=rank,
            alpha=alpha,
            dropout=dropout,
            target_modules=tuple(target_modules.split(",")),
            learning_rate=learning_rate,
            eps=eps,
            max_grad_norm=max_grad_norm,
            passes=passes,
            stop_ratio=stop_ratio,
            token_budget=token_budget,
        ),
        dtype=dtype,
        leading_space=leading_space,
        seed=seed,
        out=out,
    )


@app.command()
def sample(
    model_record: Annotated[Path, typer.Option(help="The model's record.")],
    tuning: Annotated[str, typer.Option(help="What the adapter was tuned on, for seeds.")],
    task: Annotated[Path, typer.Option(help="Task file.")],
    targets: Annotated[Path, typer.Option(help="Target sets of the task.")],
    draws: Annotated[int, typer.Option(help="Answers per prompt.")],
    max_tokens: Annotated[int, typer.Option(help="Longest answer.")],
    token_budget: Annotated[int, typer.Option(help="Tokens of one forward pass.")],
    seed: Seed,
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    adapter: Annotated[Path | None, typer.Option(help="Adapter folder; none for base.")] = None,
    dtype: Dtype = "float32",
    leading_space: Annotated[bool, typer.Option(help="A space before answers.")] = False,
    threads: Threads = 1,
) -> None:
    """Sample answers to a task's prompts, and score its target sets exactly."""
    _set_threads(threads)
    from diffuselm.stages.sample import run

    run(
        model_record=model_record,
        tuning=tuning,
        adapter=adapter,
        task=task,
        targets=targets,
        draws=draws,
        max_tokens=max_tokens,
        token_budget=token_budget,
        dtype=dtype,
        leading_space=leading_space,
        seed=seed,
        out=out,
    )


@app.command()
def gather(
    part: Annotated[list[Path], typer.Option(help="Folder of one task's answers; repeat.")],
    samples: Annotated[Path, typer.Option(help="Samples to write.")],
    exact: Annotated[Path, typer.Option(help="Exact probabilities to write.")],
) -> None:
    """Gather the tasks of one model and tuning into one file."""
    from diffuselm.stages.gather import run

    run(parts=part, samples=samples, exact=exact)


@app.command()
def measure(
    samples: Annotated[list[Path], typer.Option(help="MODEL/TUNING.parquet; repeat.")],
    exact: Annotated[list[Path], typer.Option(help="Likewise, in the same order.")],
    targets: Annotated[list[Path], typer.Option(help="Target sets of the tasks; repeat.")],
    seed: Seed,
    out: Out,
) -> None:
    """Compute every metric of one model's tunings, each with its interval."""
    from diffuselm.stages.measure import run

    run(samples=samples, exact=exact, targets=targets, seed=seed, out=out)


@app.command()
def metrics(
    part: Annotated[list[Path], typer.Option(help="Metrics of one model; repeat.")],
    task: Annotated[list[Path], typer.Option(help="Task file; repeat.")],
    targets: Annotated[list[Path], typer.Option(help="Target sets of the tasks; repeat.")],
    natural: Annotated[Path, typer.Option(help="Natural distribution of names.")],
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


@app.command()
def tables(
    metrics: Metrics,
    record: Records,
    published: Annotated[Path, typer.Option(help="The paper's numbers.")],
    names: Annotated[Path, typer.Option(help="run.json of the natural distribution.")],
    out: Folder,
) -> None:
    """Render the tables."""
    from diffuselm.stages.tables import run

    run(metrics=metrics, records=record, published=published, names=names, out=out)


@app.command()
def figure_1(
    samples: Annotated[list[Path], typer.Option(help="MODEL/TUNING.parquet; repeat.")],
    record: Records,
    natural: Annotated[Path, typer.Option(help="Natural distribution of names.")],
    targets: Annotated[Path, typer.Option(help="Target sets of the task numbers.")],
    out: Folder,
) -> None:
    """Render Figure 1."""
    from diffuselm.stages.figure_1 import run

    run(samples=samples, records=record, natural=natural, targets=targets, out=out)


@app.command()
def figure_3(metrics: Metrics, record: Records, out: Folder) -> None:
    """Render Figure 3."""
    from diffuselm.stages.figure_3 import run

    run(metrics=metrics, records=record, out=out)


@app.command()
def schema() -> None:
    """Print the JSON schema of the config."""
    import json

    from diffuselm.config import Config

    typer.echo(json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run a command; bad input ends in one line on standard error and exit code 1."""
    # PEFT still asks transformers by an older name; nothing a user could act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        app()
    except (InputError, NonFiniteLossError) as error:
        sys.exit(f"error: {error}")


def _set_threads(threads: int) -> None:
    """Before torch is first used: one number of threads, whatever the machine has."""
    import torch

    torch.set_num_threads(threads)
