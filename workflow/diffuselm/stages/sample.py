"""Stages `sample` and `sweep`: answers to prompts, and the exact probabilities of their targets."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from diffuselm.config.sample import AnswerSettings
from diffuselm.files.json_files import write_json
from diffuselm.files.provenance import file_hash
from diffuselm.files.resume import Finished, resumed
from diffuselm.files.schemas import DRAWN, EXACT, SAMPLES, SWEEP, TEXT, WORDINGS
from diffuselm.files.tables import write_rows, write_table
from diffuselm.measure.metrics import entropy, outcomes
from diffuselm.methods.method import code_of, read_method
from diffuselm.methods.prompt_search import PromptSearch
from diffuselm.model.adapters import adapter_hash
from diffuselm.model.encoding import encode_prompts
from diffuselm.model.opening import OpenModel, open_model
from diffuselm.progress import progress
from diffuselm.sampling.asking import Asking
from diffuselm.sampling.wordings import worded, wordings
from diffuselm.stages.model_jobs import ModelJob
from diffuselm.tasks.paragraphs import read_paragraphs
from diffuselm.tasks.prompts import task_of

CODE = ("tree", "model", "sampling", "tasks/readings")  # that answers and probabilities depend on


def sample(
    *,
    job: ModelJob,
    adapter: Path | None = None,
    held_out_text: Path | None = None,
    method: str | None = None,
    settings: AnswerSettings,
    samples: Path,
    exact: Path,
    text: Path,
) -> None:
    """Write answers (with run.json beside them), exact probabilities and the held-out text's loss.

    Args:
        adapter: adapter folder; none for the base model.
        held_out_text: plain text, a paragraph a line.
        method: how answers are drawn or asked for in another way: its entry in the config, as JSON.
        samples: answers to write.
        exact: exact probabilities to write.
        text: losses of the text to write.
    """
    read = held_out_text and file_hash(held_out_text)
    described = {"held_out_text": read, "temperature": 1.0}
    entry = method and json.loads(method)
    described |= {"method": entry} if entry else {}
    made_with = _asked(job, adapter, settings, described, samples, entry)
    with made_with as (asking, finished, told):
        answers = [
            finished.table(f"samples/{p.id}", DRAWN, partial(asking.samples, p))
            for p in progress(asking.sampled, unit="prompts sampled")
        ]
        scores = [
            finished.table(f"exact/{p.id}", EXACT, partial(asking.exact, p))
            for p in progress(asking.scored, unit="prompts scored")
        ]
        losses = asking.text(read_paragraphs(held_out_text)) if held_out_text else []
        drawn = pa.concat_tables([DRAWN.empty_table(), *answers])
        told["tokens"] = _tokens(drawn, told.get("wordings", {}))
        write_table(samples, drawn, SAMPLES)
        write_table(exact, pa.concat_tables([EXACT.empty_table(), *scores]), EXACT)
        write_rows(text, losses, TEXT)
    print(_entropies(drawn.to_pandas()), file=sys.stderr)


def _searched(
    by: PromptSearch, bare: OpenModel, asking: Asking, finished: Finished
) -> tuple[Asking, dict[str, dict[str, Any]]]:
    """The same with each prompt in its best wording, and what was found of that wording."""
    best = {}
    for prompt in progress(asking.prompts, unit="prompts reworded"):
        tried = partial(wordings, by, bare, asking, prompt)
        rows = finished.table(f"wordings/{prompt.id}", WORDINGS, tried).to_pylist()
        spent = {key: sum(row[key] for row in rows) for key in ("tokens_read", "tokens_written")}
        best[prompt.id] = {**max(rows, key=itemgetter("entropy")), **spent, "of": len(rows)}
    prompts = [worded(asking, prompt, best[prompt.id]["text"]) for prompt in asking.prompts]
    again = Asking(asking.opened, asking.tuning, prompts, asking.settings, asking.seed)
    return again, best


def _tokens(drawn: pa.Table, searched: Mapping[str, Mapping[str, Any]]) -> dict[str, list[int]]:
    """Tokens of each prompt's calls and of their answers, whatever of them was read only once.

    Where a wording was `searched` for, with those of the search.
    """
    keys = ("tokens_read", "tokens_written")
    sums = drawn.group_by("prompt").aggregate([(key, "sum") for key in keys]).to_pylist()
    return {
        row["prompt"]: [row[f"{k}_sum"] + searched.get(row["prompt"], {}).get(k, 0) for k in keys]
        for row in sums
    }


def _entropies(samples: pd.DataFrame) -> str:
    """The mean entropy of the answers to each task, for who waits for a first number."""
    of_prompts = samples.groupby("prompt", sort=False).apply(
        lambda rows: entropy(outcomes(rows["value"], rows["text"])).value
    )
    of_tasks = of_prompts.groupby(of_prompts.index.map(task_of), sort=False).mean()
    return "entropy in nats: " + ", ".join(f"{task} {e:.2f}" for task, e in of_tasks.items())


def sweep(
    *,
    job: ModelJob,
    adapter: Path | None = None,
    temperatures: list[float],
    settings: AnswerSettings,
    out: Path,
) -> None:
    """Write the answers to prompts at every temperature (footnote 6), and run.json beside them.

    Args:
        adapter: adapter folder; none for the base model.
        temperatures: what logits are divided by.
        out: answers to write.
    """
    described = {"temperatures": temperatures}
    with _asked(job, adapter, settings, described, out) as (asking, finished, _):
        pairs = list(product(asking.prompts, temperatures))
        answers = [
            finished.table(f"{p.id}/{t:g}", SWEEP, partial(asking.swept, p, t))
            for p, t in progress(pairs, unit="prompts and temperatures sampled")
        ]
        write_table(out, pa.concat_tables(answers), SWEEP)


@contextmanager
def _asked(
    job: ModelJob,
    adapter: Path | None,
    settings: AnswerSettings,
    described: Mapping[str, Any],
    out: Path,
    method: Mapping[str, Any] | None = None,
) -> Iterator[tuple[Asking, Finished, dict[str, Any]]]:
    """The job's model, what was finished with it before, and what run.json is to hold besides.

    At the end it is written beside `out`.
    """
    used = {
        "tuning": job.tuning,
        "adapter_sha256": adapter_hash(adapter),
        "prompts": job.prompts,
        **described,
        **settings.model_dump(mode="json"),
    }
    opened, by = open_model(job.model, adapter), method and read_method(method, "--method")
    code = (*CODE, *(code_of(by) if by else ()))
    with resumed(job.checkpoint, job.key(used, opened, code)) as finished:
        prompts = encode_prompts(opened.chat, job.targets, job.prompts)
        asking, told = Asking(opened, job.tuning, prompts, settings, job.seed, by), {}
        if isinstance(by, PromptSearch):
            asking, told["wordings"] = _searched(by, open_model(job.model), asking, finished)
        yield asking, finished, told
        made = {**job.record({**used, **asking.budgets}, opened), **told}
        write_json(out.with_suffix(".run.json"), made)
        finished.clear()
