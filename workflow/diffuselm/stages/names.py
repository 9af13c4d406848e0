"""Stage `names`: the natural distribution of names."""

from pathlib import Path

from diffuselm.files.provenance import file_hash, write_json
from diffuselm.tasks.names import write_natural


def run(*, source: str, year: int, file: Path | None, archive: Path, out: Path) -> None:
    """Write the natural distribution to `out`, and where it came from beside it as run.json."""
    label = write_natural(source, out, year=year, file=file, archive=archive)
    record = {"source": source, "label": label, "sha256": file_hash(out)}
    write_json(out.with_name("run.json"), record)
