"""Stage `model_cards`: a model card in the folder of each adapter of one model, after measuring."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffuselm.errors import InputError
from diffuselm.files import contracts
from diffuselm.files.provenance import read_json
from diffuselm.paper.comparison import ModelRecord, mean_over_seeds
from diffuselm.paper.model_card import TunedPrompt, adapter_card
from diffuselm.tasks.tasks import load_task

WEIGHTS = "adapter_model.safetensors"


def run(
    *,
    adapters: Sequence[Path],
    metrics: Path,
    tasks: Sequence[Path],
    targets: Sequence[Path],
    baseline: str,
) -> None:
    """Write README.md into each adapter folder.

    `metrics` are those of the model, `baseline` included; `tasks` and `targets` at least those that
    the adapters were tuned on. Raises InputError where a prompt of an adapter is in none of them.
    """
    measured = contracts.read_table(metrics, contracts.METRICS).to_pandas()
    counts = contracts.concatenate(targets, contracts.TARGETS).to_pandas().groupby("prompt").size()
    known = {
        prompt.id: TunedPrompt(prompt.id, prompt.text, int(counts[prompt.id]))
        for path in tasks
        for prompt in load_task(path)
        if prompt.id in counts
    }
    runs = {adapter: read_json(adapter / "run.json") for adapter in adapters}
    weights = {record["files"][WEIGHTS]: adapter.name for adapter, record in runs.items()}
    for adapter, record in runs.items():
        training = contracts.read_table(adapter / "training.parquet", contracts.TRAINING)
        card = adapter_card(
            folder=adapter,
            run=record,
            training=training.to_pandas(),
            prompts=_tuned_on(adapter, record["settings"]["prompts"], known),
            numbers=mean_over_seeds(measured[measured["seed"] == record["seed"]]),
            shown=_shown(record["model"], baseline),
            start=_start(record["settings"]["start_sha256"], weights),
        )
        with contracts.written_whole(adapter / "README.md") as part:
            part.write_text(card, encoding="utf-8", newline="\n")


def _shown(model: Mapping[str, Any], baseline: str) -> ModelRecord:
    return ModelRecord(model["model"], model["stand_in"], model["paper_model"], baseline)


def _tuned_on(
    adapter: Path, prompts: Sequence[str], known: Mapping[str, TunedPrompt]
) -> list[TunedPrompt]:
    if strangers := [prompt for prompt in prompts if prompt not in known]:
        raise InputError(
            f"{adapter}/run.json: tuned on {strangers[0]!r}; expected a prompt of the tasks and "
            "targets given"
        )
    return [known[prompt] for prompt in prompts]


def _start(sha256: str | None, weights: Mapping[str, str]) -> str | None:
    """The run whose adapter has this hash, or the hash where it is none of the model's."""
    return None if sha256 is None else weights.get(sha256, f"with SHA-256 {sha256}")
