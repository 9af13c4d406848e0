"""Commands that load a model: records, stand-ins, tuning, sampling."""

from pathlib import Path
from typing import Annotated

import typer

from diffuselm.commands.shared import (
    Adapter,
    Checkpoint,
    Draws,
    Folder,
    MaxTokensOf,
    ModelRecord,
    Out,
    Seed,
    Targets,
    Tasks,
    Threads,
    TokenBudget,
    Tuning,
    app,
    of_tasks,
    pairs,
    set_threads,
)


@app.command()
def download(
    name: Annotated[str, typer.Option(help="The name that results carry.")],
    hub: Annotated[str, typer.Option(help="Id on the Hugging Face hub.")],
    revision: Annotated[str, typer.Option(help="The commit.")],
    out: Out,
) -> None:
    """Download a model from the hub, into the user's cache; all other commands are offline."""
    from diffuselm.stages.download import run

    run(name=name, repo=hub, revision=revision, out=out)


@app.command()
def convert(
    name: Annotated[str, typer.Option(help="The name that results carry.")],
    gguf: Annotated[Path, typer.Option(help="GGUF file.")],
    folder: Folder,
    out: Out,
) -> None:
    """Convert a GGUF file into a plain model folder."""
    from diffuselm.stages.convert import run

    run(name=name, gguf=gguf, folder=folder, out=out)


@app.command()
def model(
    name: Annotated[str, typer.Option(help="The name that results carry.")],
    out: Out,
    path: Annotated[Path | None, typer.Option(help="Model folder.")] = None,
    download: Annotated[Path | None, typer.Option(help="Or the record of its download.")] = None,
    converted: Annotated[Path | None, typer.Option(help="Or that of its conversion.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Type of the base weights.")] = None,
    four_bit: Annotated[bool, typer.Option(help="Hold the base weights in 4 bits.")] = False,
    attention: Annotated[str | None, typer.Option(help="Attention implementation.")] = None,
    gpus: Annotated[int, typer.Option(help="GPUs of one job.")] = 1,
    device_map: Annotated[str | None, typer.Option(help="How layers spread over them.")] = None,
    end_token: Annotated[
        list[str] | None, typer.Option(help="Token that ends an answer; repeat.")
    ] = None,
    chat_template: Annotated[Path | None, typer.Option(help="Jinja file.")] = None,
    template_arg: Annotated[
        list[str] | None, typer.Option(help="KEY=JSON, for the chat template; repeat.")
    ] = None,
    leading_space: Annotated[
        bool | None, typer.Option(help="A space before answers; by default as the template has it.")
    ] = None,
    stand_in: Annotated[bool, typer.Option(help="A tiny model built by this project.")] = False,
    paper_model: Annotated[str | None, typer.Option(help="Its counterpart in the paper.")] = None,
) -> None:
    """Check a model folder and record what it is and how it is opened."""
    import json

    from diffuselm.stages.model import run

    run(
        name=name,
        path=path,
        download=download,
        converted=converted,
        stand_in=stand_in,
        paper_model=paper_model,
        settings={
            "dtype": dtype,
            "four_bit": four_bit,
            "attention": attention,
            "gpus": gpus,
            "device_map": device_map,
            "end_tokens": end_token or None,
            "template_args": pairs("--template-arg", template_arg, json.loads),
            "leading_space": leading_space,
        },
        chat_template=chat_template,
        out=out,
    )


@app.command()
def shown(
    name: Annotated[str, typer.Option(help="The name that results carry.")],
    out: Out,
    baseline: Annotated[str, typer.Option(help="What its tunings are compared with.")],
    stand_in: Annotated[bool, typer.Option(help="A tiny model built by this project.")] = False,
    paper_model: Annotated[str | None, typer.Option(help="Its counterpart in the paper.")] = None,
) -> None:
    """Record how tables and figures show a model: nothing that its results depend on."""
    from diffuselm.files.provenance import write_json

    shown = {"model": name, "stand_in": stand_in, "paper_model": paper_model}
    write_json(out, {**shown, "baseline": baseline})


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
    checkpoint: Checkpoint,
    checkpoint_seconds: Annotated[int, typer.Option(help="Seconds between two saves.")] = 60,
    token_budget: TokenBudget = None,
    dropout: Annotated[float, typer.Option(help="Dropout before the adapters.")] = 0.0,
    stop_ratio: Annotated[
        float | None, typer.Option(help="Stop at this ratio of loss to entropy.")
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="Only these prompts; repeat.")] = None,
    start: Annotated[Path | None, typer.Option(help="An adapter to train further.")] = None,
    threads: Threads = 1,
) -> None:
    """Train one LoRA adapter."""
    set_threads(threads)
    from diffuselm.stages.tune import run
    from diffuselm.tuning.loop import Hyperparameters

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
        seed=seed,
        checkpoint=checkpoint,
        checkpoint_seconds=checkpoint_seconds,
        out=out,
    )


@app.command()
def sample(
    model_record: ModelRecord,
    tuning: Tuning,
    task: Tasks,
    targets: Targets,
    draws: Annotated[list[str], typer.Option(help="TASK=N answers per prompt; repeat.")],
    max_tokens: MaxTokensOf,
    seed: Seed,
    checkpoint: Checkpoint,
    samples: Annotated[Path, typer.Option(help="Answers to write.")],
    exact: Annotated[Path, typer.Option(help="Exact probabilities to write.")],
    text: Annotated[Path, typer.Option(help="Losses of the held-out text to write.")],
    held: Annotated[bool, typer.Option(help="Hold answers to the asked form.")] = False,
    held_out_text: Annotated[Path | None, typer.Option(help="Plain text.")] = None,
    adapter: Adapter = None,
    token_budget: TokenBudget = None,
    pass_budget: Annotated[int | None, typer.Option(help="The same of scoring.")] = None,
    threads: Threads = 1,
) -> None:
    """Sample answers to the tasks' prompts, and score their target sets exactly."""
    set_threads(threads)
    from diffuselm.stages.sample import SamplingSettings, run

    run(
        model_record=model_record,
        tuning=tuning,
        adapter=adapter,
        tasks=task,
        targets=targets,
        held_out_text=held_out_text,
        settings=SamplingSettings(
            draws=of_tasks("--draws", draws, task),
            max_tokens=of_tasks("--max-tokens", max_tokens, task),
            held=held,
            token_budget=token_budget,
            pass_budget=pass_budget,
        ),
        seed=seed,
        checkpoint=checkpoint,
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
    tuning: Tuning,
    draws: Draws,
    max_tokens: MaxTokensOf,
    seed: Seed,
    checkpoint: Checkpoint,
    out: Out,
    adapter: Adapter = None,
    token_budget: TokenBudget = None,
    threads: Threads = 1,
) -> None:
    """Sample the model at other temperatures."""
    set_threads(threads)
    from diffuselm.stages.sweep import run

    run(
        model_record=model_record,
        tuning=tuning,
        adapter=adapter,
        tasks=task,
        targets=targets,
        prompts=prompt,
        temperatures=temperature,
        draws=draws,
        max_tokens=of_tasks("--max-tokens", max_tokens, task),
        token_budget=token_budget,
        seed=seed,
        checkpoint=checkpoint,
        out=out,
    )
