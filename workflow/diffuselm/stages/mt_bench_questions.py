"""Stage `mt_bench`, first step: the benchmark's questions, checked."""

from pathlib import Path

from diffuselm.measure.mt_bench import write_questions


def run(*, source: str, sha256: str | None, out: Path) -> None:
    """Write the questions of a local file or a URL."""
    write_questions(source, out, sha256=sha256)
