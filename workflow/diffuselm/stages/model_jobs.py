"""What the stages that load a model share: the key of a job, and the record of what it made."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from diffuselm.files.provenance import content_hash, file_hash, run_record
from diffuselm.model.opening import OpenModel
from diffuselm.plan.fingerprint import fingerprint
from diffuselm.tasks.target_sets import target_files


def job_key(
    described: Mapping[str, Any],
    opened: OpenModel,
    *,
    targets: Sequence[Path],
    seed: int,
    code: Sequence[str],
) -> str:
    """A hash of all that a job depends on: what was done under another key is of no use to it.

    `code` names the folders of this package that compute its numbers.
    """
    files = [file_hash(file) for file in chain(*map(target_files, targets))]
    return content_hash([described, opened.identity, files, seed, fingerprint(*code)])


def record_of(described: Mapping[str, Any], opened: OpenModel, seed: int) -> dict[str, Any]:
    """The run.json of what an opened model made."""
    device = str(opened.model.device)
    settings = {**described, **opened.used}
    return run_record(settings=settings, seed=seed, model=opened.record, device=device)
