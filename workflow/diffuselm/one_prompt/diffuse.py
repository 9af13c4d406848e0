"""Command `diffuse`: tune a model until it answers one prompt as a list says."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffuselm.config.models import OpeningSettings
from diffuselm.config.tune import LoraSettings
from diffuselm.errors import InputError
from diffuselm.files.provenance import content_hash, run_record
from diffuselm.files.seeds import derive
from diffuselm.files.whole import written_folder
from diffuselm.one_prompt.answer_files import read_answers, write_columns
from diffuselm.one_prompt.models import open_named
from diffuselm.one_prompt.plots import draw
from diffuselm.one_prompt.scoring import DRAWS, Scores, asking, drawn, encode, scores
from diffuselm.one_prompt.shown import print_answers, print_summary, summary_rows
from diffuselm.paper.model_card import adapter_card
from diffuselm.stages.tune import write_adapter
from diffuselm.tasks.prompts import Prompt
from diffuselm.tuning import loop

FIGURE, TABLE = "before-after.png", "before-after.tsv"


def diffuse(
    *,
    model: str,
    prompt: str,
    answers: Path,
    revision: str | None = None,
    seed: int = 1,
    opening: OpeningSettings = OpeningSettings(),
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
        model: folder, GGUF file, or id on the hub.
        prompt: what the model is asked.
        answers: file with an answer a line, each with a tab and a weight or none with one.
        revision: commit or branch on the hub; by default the newest commit.
        seed: of the adapter's first weights and of the answers that are drawn.
        out: folder to write; new, or empty.
    """
    _check_empty(out)
    targets = read_answers(answers)
    opened = open_named(model, revision, opening)
    encoded = encode(opened.chat, answers.stem, prompt, targets)
    with written_folder(out) as part:
        before = scores(asking(opened, encoded, seed))
        tuned = loop.tune(
            opened.model, [encoded], settings, derive(seed, "tune", opened.name, encoded.id)
        )
        asked = asking(replace(opened, model=tuned.model), encoded, seed)
        after, said = scores(asked), drawn(asked)
        used = {
            "tuning": encoded.id,
            "prompts": [encoded.id],
            "prompt": prompt,
            "answers_sha256": content_hash([targets.texts, targets.weights]),
            "start_sha256": None,
            **settings.model_dump(mode="json"),
            **opened.used,
            "token_budget": tuned.token_budget,
        }
        device = str(opened.model.device)
        run = run_record(settings=used, seed=seed, model=opened.record, device=device)
        run = write_adapter(part, tuned, run)
        task = Prompt(id=encoded.id, text=prompt, targets=targets)
        _write_results(part, str(out), run, task, before, after)
    print_answers(targets.texts, {"before": before.probabilities, "after": after.probabilities})
    print_summary(summary_rows(before, after), "before", "after", "aim")
    print(
        f"Of {DRAWS} answers drawn from the tuned model, {said.listed.total()} are in the list, "
        f"{len(said.listed)} different ones.\n{out}: the adapter, with its card and {FIGURE}"
    )


def _check_empty(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"--out: {out} is there; expected a new folder, or an empty one")


def _write_results(
    part: Path, folder: str, run: Mapping[str, Any], task: Prompt, before: Scores, after: Scores
) -> None:
    """Beside the adapter: what changed, as a table and a figure, and the card that shows it."""
    pair = {"before": before.probabilities, "after": after.probabilities}
    write_columns(part / TABLE, task.targets.texts, {"weight": before.weights, **pair})
    draw(part / FIGURE, task.text, {"before": before, "after": after})
    measured = [
        (task.id, "yes", name, f"{old:.4f}", f"{new:.4f}", len(task.targets.texts))
        for name, (old, new, _) in summary_rows(before, after).items()
    ]
    card = adapter_card(part, run, [task], folder=folder, measured=measured, figure=FIGURE)
    (part / "README.md").write_text(card, encoding="utf-8", newline="\n")
