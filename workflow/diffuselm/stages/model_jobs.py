"""What the stages that load a model share: their inputs, the key of a job, and its record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from cyclopts import Parameter

from diffuselm.files.provenance import content_hash, file_hash, run_record
from diffuselm.model.opening import OpenModel
from diffuselm.plan.fingerprint import fingerprint
from diffuselm.tasks.target_sets import target_files


@Parameter(name="*")  # each is an option of its own
@dataclass(frozen=True, kw_only=True)
class ModelJob:
    """One model and tuning, and the prompts that they are trained on or asked.

    Args:
        model: record of the model.
        tuning: name of the tuning, for seeds.
        targets: target sets of the prompts' tasks.
        prompts: ids of the prompts; all of the tasks' without it.
        seed: the config's seed.
        checkpoint: where to keep what is done, from where a killed job goes on; gone at the end.
    """

    model: Path
    tuning: str
    targets: list[Path]
    prompts: list[str] | None = None
    seed: int
    checkpoint: Path

    def key(self, described: Mapping[str, Any], opened: OpenModel, code: Sequence[str]) -> str:
        """A hash of all that the job depends on: what was done under another key is of no use.

        `code` names the folders of this package that compute its numbers.
        """
        files = [file_hash(file) for file in chain(*map(target_files, self.targets))]
        return content_hash([described, opened.identity, files, self.seed, fingerprint(*code)])

    def record(self, described: Mapping[str, Any], opened: OpenModel) -> dict[str, Any]:
        """The run.json of what the opened model made."""
        device = str(opened.model.device)
        settings = {**described, **opened.used}
        return run_record(settings=settings, seed=self.seed, model=opened.record, device=device)
