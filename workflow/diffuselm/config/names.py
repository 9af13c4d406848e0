"""Where the natural distribution of names comes from."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from diffuselm.config.base import Settings


class NamesSettings(Settings):
    """Where the natural distribution of names comes from."""

    source: Literal["embedded", "ssa", "file"] = "embedded"
    """`embedded`: offline; `ssa`: a download; `file`: a local names.zip or yobYYYY.txt."""
    year: Annotated[int, Field(ge=1880, le=2100)] = 2022
    """Year of birth, for `ssa` and `file`."""
    file: Path | None = None
    """The local file, for `file`."""

    @model_validator(mode="after")
    def _file_goes_with_its_source(self) -> Self:
        if (self.source == "file") != (self.file is not None):
            raise ValueError(
                f"source is {self.source!r} and file is {self.file}; "
                "expected a file with source 'file' and only then"
            )
        return self
