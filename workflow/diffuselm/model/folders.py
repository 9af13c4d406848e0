"""Folders of models and adapters: what is checked when one is opened."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

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


def check_finite(folder: Path, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Raise InputError where a weight holds a NaN or an infinity.

    Attention kernels may swallow it, and answer at random.
    """
    for name, weight in weights:
        # A sum is finite where all terms are, and takes no memory; packed 4- and 8-bit ones pass.
        if weight.dtype.itemsize > 1 and not weight.detach().sum(dtype=torch.float32).isfinite():
            dtype = str(weight.dtype).removeprefix("torch.")
            raise InputError(
                f"{folder}: the weights' {name} is not finite in {dtype}; expected finite numbers: "
                "try another dtype, or get the file again"
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
