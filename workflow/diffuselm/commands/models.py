"""Commands that load a model: records, stand-ins, tuning, sampling."""

from pathlib import Path
from typing import Annotated

import typer

from diffuselm.commands.shared import (
    Adapter,
    Draws,
    Dtype,
    LeadingSpace,
    MaxTokens,
    ModelRecord,
    Out,
    Seed,
    Targets,
    Tasks,
    Threads,
    TokenBudget,
    Tuning,
    app,
    set_threads,
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
def stand_in(
    family: Annotated[str, typer.Option(help="gemma, llama or mistral.")],
    task: Annotated[list[Path], typer.Option(help="Task file of the paper; repeat.")],
    words: Annotated[Path, typer.Option(help="What it learns beyond the target sets.")],
    seed: Seed,
    broad_steps: Annotated[int, typer.Option(help="Steps on wide distributions.")],
    collapse_steps: Annotated[int, typer.Option(help="Steps on a few favourites.")],
    biography_steps: Annotated[list[int], typer.Option(help="Both again; give it twice.")],
    out: Out,
    threads: Threads = 1,
) -> None:
    """Build a stand-in model from its seed."""
    set_threads(threads)
    from diffuselm.stages.stand_in import run

    run(
        family=family,
        tasks=task,
        words=words,
        seed=seed,
        broad_steps=broad_steps,
        collapse_steps=collapse_steps,
        biography_steps=biography_steps,
        out=out,
    )


@app.command()
def tune(
    model_record: ModelRecord,
    tuning: Tuning,
    task: Tasks,
    targets: Targets,
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
    start: Annotated[Path | None, typer.Option(help="An adapter to train further.")] = None,
    dtype: Dtype = "float32",
    leading_space: LeadingSpace = False,
    threads: Threads = 1,
) -> None:
    """Train one LoRA adapter."""
    set_threads(threads)
    from diffuselm.stages.tune import run
    from diffuselm.tune import Hyperparameters

    run(
        model_record=model_record,
        tuning=tuning,
        prompts=prompt or [],
        start=start,
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
    model_record: ModelRecord,
    tuning: Tuning,
    task: Tasks,
    targets: Targets,
    draws: Draws,
    max_tokens: MaxTokens,
    token_budget: TokenBudget,
    pass_budget: Annotated[int, typer.Option(help="Tokens of one packed pass of scoring.")],
    seed: Seed,
    samples: Annotated[Path, typer.Option(help="Answers to write.")],
    exact: Annotated[Path, typer.Option(help="Exact probabilities to write.")],
    text: Annotated[Path, typer.Option(help="Losses of the held-out text to write.")],
    max_tokens_of: Annotated[
        list[str] | None, typer.Option(help="TASK=N, where it differs; repeat.")
    ] = None,
    held_out_text: Annotated[Path | None, typer.Option(help="Plain text.")] = None,
    adapter: Adapter = None,
    dtype: Dtype = "float32",
    leading_space: LeadingSpace = False,
    threads: Threads = 1,
) -> None:
    """Sample answers to the tasks' prompts, and score their target sets exactly."""
    set_threads(threads)
    from diffuselm.stages.sample import run

    run(
        model_record=model_record,
        tuning=tuning,
        adapter=adapter,
        tasks=task,
        targets=targets,
        held_out_text=held_out_text,
        draws=draws,
        max_tokens=max_tokens,
        max_tokens_of={
            name: int(number) for name, _, number in (o.partition("=") for o in max_tokens_of or [])
        },
        token_budget=token_budget,
        pass_budget=pass_budget,
        dtype=dtype,
        leading_space=leading_space,
        seed=seed,
        samples_out=samples,
        exact_out=exact,
        text_out=text,
    )


@app.command()
def sweep(
    model_record: ModelRecord,
    task: Tasks,
    targets: Targets,
    prompt: Annotated[list[str], typer.Option(help="Prompts to ask; repeat.")],
    temperature: Annotated[list[float], typer.Option(help="Temperatures; repeat.")],
    draws: Draws,
    max_tokens: MaxTokens,
    token_budget: TokenBudget,
    seed: Seed,
    out: Out,
    dtype: Dtype = "float32",
    leading_space: LeadingSpace = False,
    threads: Threads = 1,
) -> None:
    """Sample the base model at other temperatures."""
    set_threads(threads)
    from diffuselm.stages.sweep import run

    run(
        model_record=model_record,
        tasks=task,
        targets=targets,
        prompts=prompt,
        temperatures=temperature,
        draws=draws,
        max_tokens=max_tokens,
        token_budget=token_budget,
        dtype=dtype,
        leading_space=leading_space,
        seed=seed,
        out=out,
    )
