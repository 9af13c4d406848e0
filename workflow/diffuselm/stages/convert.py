"""Stage `convert`: a GGUF file to a plain model folder, once; later stages take it as any other."""

from pathlib import Path

from diffuselm.files.provenance import file_hash, write_json
from diffuselm.model.conversion import convert


def run(*, name: str, gguf: Path, folder: Path, out: Path) -> None:
    """Write the model folder, and then the record of what it was made from."""
    convert(gguf, folder)
    source = {"file": gguf.name, "sha256": file_hash(gguf)}
    write_json(out, {"model": name, "path": str(folder), "source": source})
