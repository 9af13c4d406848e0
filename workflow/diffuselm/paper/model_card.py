"""Model cards: what an adapter was tuned on, what that changed, and how it is loaded.

`templates/model_card.md.jinja` has their text.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from diffuselm.config.paper import PAPER_TASKS
from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json
from diffuselm.files.schemas import TRAINING
from diffuselm.files.tables import read_table
from diffuselm.files.whole import written_whole
from diffuselm.paper.comparison import (
    Key,
    ModelRecord,
    Number,
    Numbers,
    mean_over_seeds,
    read_metrics,
)
from diffuselm.paper.job_times import WEIGHTS
from diffuselm.paper.number_tables import PAPER_N
from diffuselm.paper.table_files import DASH, escape_markdown, markdown_rows
from diffuselm.paper.templating import TEMPLATES
from diffuselm.tasks.prompts import BIOGRAPHIES, Prompt, task_of
from diffuselm.tasks.target_sets import read_prompts

# Metric -> its title, digits, and whether it was sampled and so has an interval.
METRICS = {
    "coverage": ("coverage", 1, True),
    "entropy": ("entropy", 2, True),
    "target_mass": ("target mass", 3, False),
    "kl": ("KL divergence", 3, False),
}


def model_cards(
    *, runs: list[Path], metrics: Path, targets: list[Path], baseline: str = "base"
) -> None:
    """Write README.md beside the run.json of each adapter of one model.

    `metrics` are those of the model, `baseline` included; `targets` at least those that the
    adapters were tuned on. Raises InputError where a prompt of an adapter is in none of them.
    """
    measured = read_metrics(metrics)
    prompts = {prompt.id: prompt for prompt in read_prompts(targets)}
    of_records = tuple({task_of(id): None for id, prompt in prompts.items() if prompt.records})
    made = {run.parent: read_json(run) for run in runs}
    weights = {run["files"][WEIGHTS]: adapter.name for adapter, run in made.items()}
    for adapter, run in made.items():
        model, settings = run["model"], run["settings"]
        if strangers := [prompt for prompt in settings["prompts"] if prompt not in prompts]:
            raise InputError(
                f"{adapter}/run.json: tuned on {strangers[0]!r}; expected a prompt of the targets"
            )
        asked = [prompts[prompt] for prompt in settings["prompts"]]
        shown = ModelRecord(
            model["model"], model["stand_in"], model["paper_model"], baseline, of_records
        )
        numbers = mean_over_seeds(measured[measured["seed"] == run["seed"]])
        start = settings["start_sha256"]
        card = adapter_card(
            adapter,
            run,
            asked,
            folder=str(adapter),
            # The run whose adapter has this hash, or the hash where it is none of the model's.
            start=start and weights.get(start, f"with SHA-256 {start}"),
            measured=list(_measured(numbers, shown, settings)),
            other_counts=_other_counts(numbers, shown, settings["tuning"]),
            baseline=baseline,
            form_taught=any(key.tuning == "form" for key in numbers),
            held={(): None, (BIOGRAPHIES,): "Biographies"}.get(of_records, "Records"),
        )
        with written_whole(adapter / "README.md") as part:
            part.write_text(card, encoding="utf-8", newline="\n")


def adapter_card(
    adapter: Path,
    run: Mapping[str, Any],
    prompts: Sequence[Prompt],
    *,
    folder: str,
    measured: Sequence[Sequence[object]],
    other_counts: Mapping[str, int] | None = None,
    start: str | None = None,
    baseline: str = "base",
    form_taught: bool = False,
    held: str | None = None,
    figure: str | None = None,
) -> str:
    """The card of an adapter, whose run.json is `run`, tuned on `prompts`.

    `adapter` holds its training.parquet, and `folder` is where it will be loaded from. `measured`
    has rows of the table under "Before and after", `other_counts` the answers to a prompt of tasks
    that were not asked as often as in the paper, `form_taught` whether tuning `form` was measured,
    `held` what answers are called that were held to the form, if some were; with a `figure`, a file
    beside the card, its metrics are exact ones of a single prompt.
    """
    return _card(
        run,
        library="peft",
        relation="adapter",
        folder=folder,
        start=start,
        tuned_on=[(p.id, p.text, len(p.targets.texts)) for p in prompts],
        **_training(adapter, len(prompts)),
        measured=measured,
        other_counts=other_counts,
        baseline=baseline,
        form_taught=form_taught,
        held=held,
        figure=figure,
        question=prompts[0].text,
    )


def merged_card(*, folder: Path, run: Mapping[str, Any], dtype: str) -> str:
    """The card of a model in `folder`, merged from the adapter whose run.json is `run`."""
    return _card(
        run,
        library="transformers",
        relation="finetune",
        folder=str(folder),
        merged=True,
        dtype=dtype,
        tuned_on=[(prompt,) for prompt in run["settings"]["prompts"]],
    )


def _card(run: Mapping[str, Any], *, library: str, relation: str, **facts: Any) -> str:
    """The template filled with `facts`, under the hub's metadata."""
    model = run["model"]
    # The hub knows base models by their ids alone, so a local one is left out.
    data = ModelCardData(
        base_model=model["hub"],
        base_model_relation=relation if model["hub"] is not None else None,
        library_name=library,
        pipeline_tag="text-generation",
        tags=["diffuse-distributions", "lora"],
    )
    changed = ", with uncommitted changes" if run["dirty"] else ""
    commit = f"{run['diffuselm']}, commit {run['commit'] or 'unknown'}{changed}"
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATES / "model_card.md.jinja"),
        run=run,
        model=model,
        settings=run["settings"],
        versions={"diffuselm": commit, "Python": run["python"], **run["libraries"]},
        md=escape_markdown,
        table=_table,
        repr=repr,
        **facts,
    )
    return f"{card.content}\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; every cell is text, whatever a user wrote into it."""
    return markdown_rows(heads, [[escape_markdown(str(cell)) for cell in row] for row in rows])


def _training(adapter: Path, prompts: int) -> dict[str, Any]:
    """How long it was trained, and the losses that its last pass over the prompts sums to."""
    steps = read_table(adapter / "training.parquet", TRAINING).to_pandas()
    last_pass = steps[["loss", "optimal"]].tail(prompts).sum().to_dict()
    return {"steps": len(steps), "passes": math.ceil(len(steps) / prompts), "last_pass": last_pass}


def _measured(
    numbers: Numbers, shown: ModelRecord, settings: Mapping[str, Any]
) -> Iterator[tuple[object, ...]]:
    """A row for each task and metric, then for the prompts tuned on if they are not all of it."""
    tuning = settings["tuning"]
    own = [
        key
        for key in numbers
        if key[:2] == (shown.model, shown.measured_tuning(tuning, key.task))
        and key.metric in METRICS
    ]
    for task in dict.fromkeys(key.task for key in own):
        asked = dict.fromkeys(key.prompt for key in own if key.task == task and key.prompt)
        shared = [prompt for prompt in asked if prompt in settings["prompts"]]
        some = 0 < len(shared) < len(asked)
        how = f"{len(shared)} of {len(asked)} prompts" if some else ("yes" if shared else "no")
        yield from _changes(numbers, shown, tuning, (task, None), how)
        for prompt in shared if some else ():
            yield from _changes(numbers, shown, tuning, (task, prompt), "yes")


def _other_counts(numbers: Numbers, shown: ModelRecord, tuning: str) -> dict[str, int]:
    """The paper's tasks whose prompts got another number of answers than its own, and that."""
    drawn = {
        key.task: number.n
        for key, number in numbers.items()
        if key[:2] == (shown.model, shown.measured_tuning(tuning, key.task))
        and key.task in PAPER_TASKS
        and key.prompt
        and key.metric == "coverage"
    }
    return {task: n for task, n in drawn.items() if n != PAPER_N}


def _changes(
    numbers: Numbers, shown: ModelRecord, tuning: str, place: tuple[str, str | None], how: str
) -> Iterator[tuple[object, ...]]:
    """A row for each metric of a task, or of a prompt of it, that was measured after tuning."""
    task, prompt = place
    own, other = (shown.measured_tuning(each, task) for each in (tuning, "base"))
    # Of a base model that does not keep the form, raw answers say nothing of spread.
    raw = own == other
    for metric, (title, digits, sampled) in METRICS.items():
        after = numbers.get(Key(shown.model, own, *place, metric))
        if after is not None:
            compared = Key(shown.model, "base" if raw else other, *place, metric)
            before = None if raw and sampled else numbers.get(compared)
            cells = (_cell(number, digits, sampled) for number in (before, after))
            yield (prompt or task, how, title, *cells, after.n)


def _cell(number: Number | None, digits: int, sampled: bool) -> str:
    if number is None or math.isnan(number.value):
        return DASH
    if math.isinf(number.value):
        return "∞"
    ends = f" ({number.ci_low:.{digits}f}–{number.ci_high:.{digits}f})"
    return f"{number.value:.{digits}f}{ends if sampled else ''}"
