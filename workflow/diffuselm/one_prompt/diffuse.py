"""Command `diffuse`: tune a model until it answers one prompt as a list says."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffuselm.config.tune import LoraSettings
from diffuselm.errors import InputError
from diffuselm.files.provenance import content_hash, run_record
from diffuselm.files.seeds import derive
from diffuselm.files.whole import written_folder
from diffuselm.one_prompt.answer_files import write_columns
from diffuselm.one_prompt.plots import draw
from diffuselm.one_prompt.question import Question
from diffuselm.one_prompt.scoring import DRAWS, Scores, asking, drawn, scores
from diffuselm.one_prompt.shown import print_answers, print_summary, summary_rows
from diffuselm.paper.model_card import adapter_card
from diffuselm.sampling.asking import Asking
from diffuselm.stages.tune import write_adapter
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.texts import TargetSet
from diffuselm.tuning import loop

FIGURE, TABLE = "before-after.png", "before-after.tsv"


def diffuse(
    *,
    question: Question,
    settings: LoraSettings = LoraSettings(),
    out: Path,
) -> None:
    """Tune a model to answer a prompt at random from a list; show before and after.

    For example:

        diffuselm diffuse --model Qwen/Qwen3-0.6B --prompt "Pick a colour."
            --answers colours.txt --out my-adapter

    An answer is the model's whole turn, as it is in the file. The folder gets a PEFT adapter with
    its model card, run.json, and the probability of each answer before and after.

    Args:
        out: folder to write; new, or empty.
    """
    out = out.absolute()
    _check_empty(out)
    asked = question.open()
    (prompt,) = asked.prompts
    with written_folder(out) as part:
        before = scores(asked)
        seed = derive(question.seed, "tune", asked.opened.name, prompt.id)
        tuned = loop.tune(asked.opened.model, [prompt], settings, seed)
        now = asking(replace(asked.opened, model=tuned.model), prompt, question.seed)
        after, said = scores(now), drawn(now)
        run = write_adapter(part, tuned, _run(question, asked, settings, tuned.token_budget))
        _write_results(part, str(out), run, question.prompt, before, after)
        _check_empty(out)  # still, after minutes
    print_answers(prompt.targets, {"before": before.probabilities, "after": after.probabilities})
    print_summary(summary_rows(before, after), "before", "after", "aim")
    print(
        f"Of {DRAWS} answers drawn from the tuned model, {said.listed.total()} are in the list, "
        f"{len(said.listed)} different ones.\n{out}: the adapter, with its card and {FIGURE}"
    )


def _check_empty(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"--out: {out} is there; expected a new folder, or an empty one")


def _run(
    question: Question, asked: Asking, settings: LoraSettings, token_budget: int
) -> dict[str, Any]:
    """What made the adapter, as in run.json."""
    (prompt,), opened = asked.prompts, asked.opened
    used = {
        "tuning": prompt.id,
        "prompts": [prompt.id],
        "prompt": question.prompt,
        "answers_sha256": content_hash(
            [prompt.targets, prompt.tree.mass[prompt.tree.leaf].tolist()]
        ),
        "start_sha256": None,
        **settings.model_dump(mode="json"),
        **opened.used,
        "token_budget": token_budget,
    }
    device = str(opened.model.device)
    return run_record(settings=used, seed=question.seed, model=opened.record, device=device)


def _write_results(
    part: Path, folder: str, run: Mapping[str, Any], text: str, before: Scores, after: Scores
) -> None:
    """Beside the adapter: what changed, as a table and a figure, and the card that shows it."""
    id, answers = before.prompt.id, before.prompt.targets
    pair = {"before": before.probabilities, "after": after.probabilities}
    write_columns(part / TABLE, answers, {"weight": before.weights, **pair})
    draw(part / FIGURE, text, {"before": before, "after": after})
    measured = [
        (id, "yes", name, f"{old:.4f}", f"{new:.4f}", len(answers))
        for name, (old, new, _) in summary_rows(before, after).items()
    ]
    prompts = [Prompt(id=id, text=text, targets=TargetSet.of(answers, before.weights.tolist()))]
    card = adapter_card(part, run, prompts, folder=folder, measured=measured, figure=FIGURE)
    (part / "README.md").write_text(card, encoding="utf-8", newline="\n")
