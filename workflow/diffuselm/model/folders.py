"""Folders of models and adapters: what is checked before one is opened."""

from collections.abc import Mapping
from pathlib import Path

from diffuselm.errors import InputError
from diffuselm.files.provenance import file_hash


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Raise InputError where a file of a folder has another hash than its run.json says."""
    for name, sha256 in files.items():
        try:
            found = f"SHA-256 is {file_hash(folder / name)}"
        except OSError as error:
            found = error.strerror
        if found != f"SHA-256 is {sha256}":
            raise InputError(
                f"{folder / name}: {found}, expected {sha256} as its run.json says; delete the "
                "folder and run again"
            )


def check_tokenizer_config(folder: Path) -> None:
    """Raise InputError where nothing says what a tokenizer's special tokens are.

    transformers would open it silently, and the chat template write no beginning of sequence.
    """
    if not (folder / "tokenizer_config.json").is_file():
        raise InputError(
            f"{folder}: no tokenizer_config.json; expected the file that names the tokenizer's "
            "special tokens"
        )
