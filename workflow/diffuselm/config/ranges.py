"""Figure 2: on which numbers, and in which words, random numbers are tested."""

from typing import Annotated

from pydantic import Field

from diffuselm.config.base import Settings

Highest = Annotated[int, Field(ge=2, le=100_000)]


class RangesSettings(Settings):
    """Figure 2: the formats and the random ranges on which random numbers are tested."""

    highs: Annotated[tuple[Highest, ...], Field(min_length=1)] = (
        5, 10, 20, 45, 70, 100, 150, 200)  # fmt: skip
    """Highest numbers, the lowest being 1, for each of the five prompt formats."""
    sizes: Annotated[tuple[Highest, ...], Field(min_length=1)] = (
        10, 25, 50, 100, 200)  # fmt: skip
    """Numbers in a range whose lowest is drawn from 1 to 900."""
    versions: Annotated[int, Field(ge=2, le=1000)] = 5
    """Ranges drawn for each size."""
