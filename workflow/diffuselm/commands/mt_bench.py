"""Commands of MT-Bench: questions, answers, verdicts."""

from pathlib import Path
from typing import Annotated

import typer

from diffuselm.commands.shared import (
    Adapter,
    MaxTokens,
    ModelRecord,
    Out,
    Seed,
    Threads,
    Tuning,
    app,
    set_threads,
)


@app.command()
def mt_bench_questions(
    source: Annotated[str, typer.Option(help="Questions: a file or a URL, JSON lines.")],
    out: Out,
    sha256: Annotated[str | None, typer.Option(help="Of the whole file.")] = None,
) -> None:
    """Fetch and check the questions of MT-Bench."""
    from diffuselm.stages.mt_bench_questions import run

    run(source=source, sha256=sha256, out=out)


@app.command()
def mt_bench_answers(
    model_record: ModelRecord,
    tuning: Tuning,
    questions: Annotated[Path, typer.Option(help="Questions of MT-Bench.")],
    max_tokens: MaxTokens,
    seed: Seed,
    out: Out,
    adapter: Adapter = None,
    threads: Threads = 1,
) -> None:
    """Answer both turns of every question of MT-Bench."""
    set_threads(threads)
    from diffuselm.stages.mt_bench_answers import run

    run(
        model_record=model_record,
        tuning=tuning,
        adapter=adapter,
        questions=questions,
        max_tokens=max_tokens,
        seed=seed,
        out=out,
    )


@app.command()
def mt_bench_judge(
    questions: Annotated[Path, typer.Option(help="Questions of MT-Bench.")],
    answers: Annotated[Path, typer.Option(help="MODEL/TUNING.parquet.")],
    url: Annotated[str, typer.Option(help="Endpoint that speaks OpenAI's protocol.")],
    model: Annotated[str, typer.Option(help="The judge's pinned name.")],
    repeats: Annotated[int, typer.Option(help="Verdicts on each answer.")],
    cache: Annotated[Path, typer.Option(help="Folder that keeps what the judge said.")],
    seed: Seed,
    verdicts: Annotated[Path, typer.Option(help="Verdicts to write.")],
    metrics: Annotated[Path, typer.Option(help="Their metrics to write.")],
    key_env: Annotated[str | None, typer.Option(help="NAME of the key's variable.")] = None,
) -> None:
    """Ask a judge for verdicts on the answers of one model and tuning."""
    from diffuselm.measure.judge import Judge
    from diffuselm.stages.mt_bench_judge import run

    judge = Judge(url=url, model=model, key_env=key_env, repeats=repeats, cache=cache)
    run(
        questions=questions,
        answers=answers,
        judge=judge,
        seed=seed,
        verdicts=verdicts,
        metrics=metrics,
    )
