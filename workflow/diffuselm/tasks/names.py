"""The natural distribution of names: how often each is given, both sexes pooled (Section 4.1).

The paper compares with US births of 2022. `embedded` stands in for them without a network.
"""

import math
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from diffuselm.errors import InputError
from diffuselm.files.contracts import NATURAL, write_table, written_whole
from diffuselm.tasks import ssa
from diffuselm.tasks.ssa import SSA_URL

PER = 1_000_000  # the embedded table has frequencies: its counts are per million births

# Letters of any script, with single joints inside, so that no name carries a brace or a mark.
_LINE = re.compile(r"([^\W\d_]+(?:[ '’-][^\W\d_]+)*),([FM]),([1-9][0-9]{0,8})")
_YEAR_FILE = re.compile(r"yob(\d{4})\.txt")


def write_natural(
    source: str,
    out: Path,
    *,
    year: int | None = None,
    file: Path | None = None,
    url: str = SSA_URL,
    archive: Path | None = None,
) -> str:
    """Write the natural distribution to `out` and return one line that says what it is.

    `source` is 'ssa' (download `url`, and keep it as `archive` where given), 'file' (a local
    `names.zip` or `yobYYYY.txt`) or 'embedded' (Faker's frequencies). The first two need `year`.
    The returned line carries the SHA-256 of the file that was read, since the SSA's file changes
    every year. Columns: see `contracts.NATURAL`; rows by falling count, then name.

    Raises InputError, and then writes neither `out` nor `archive`.
    """
    if source == "embedded":
        table, label = embedded()
    elif source not in {"ssa", "file"}:
        raise InputError(f"names source: found {source!r}, expected 'ssa', 'file' or 'embedded'")
    elif year is None:
        raise InputError(f"names year: missing, expected the year of birth for source {source!r}")
    elif source == "file":
        table, label = from_file(file, year)
    else:
        table, label = from_ssa(url, archive, year)
    write_table(out, table, NATURAL)
    return label


def from_ssa(url: str, archive: Path | None, year: int) -> tuple[pa.Table, str]:
    """Download the SSA's archive and read one year; keep the file only if all of it holds."""
    with tempfile.TemporaryDirectory() as folder:
        kept = archive or Path(folder) / "names.zip"
        with written_whole(kept) as part:
            ssa.download(url, part)
            births = parse_births(ssa.read_year(part, year, url), f"{url}: yob{year}.txt")
        label = f"US Social Security Administration, births of {year} ({_sha256(kept)})"
    return counted(births), label


def from_file(file: Path | None, year: int) -> tuple[pa.Table, str]:
    """Read one year from a local `names.zip` or `yobYYYY.txt`.

    Raises InputError when there is no such file, or a `.txt` is not named after `year`.
    """
    if file is None or not file.is_file():
        found = "missing" if file is None else f"{file} is no file"
        raise InputError(f"names file: {found}, expected a local names.zip or yob{year}.txt")
    if file.suffix != ".txt":
        births = parse_births(ssa.read_year(file, year, str(file)), f"{file}: yob{year}.txt")
    elif (match := _YEAR_FILE.fullmatch(file.name)) and int(match[1]) == year:
        births = parse_births(file.read_bytes(), str(file))
    else:
        raise InputError(f"{file}: found the name {file.name}, expected yob{year}.txt for {year}")
    return counted(births), f"{file.name}, births of {year} ({_sha256(file)})"


def embedded() -> tuple[pa.Table, str]:
    """Faker's US first names: each sex normalised to 1, then pooled half and half.

    They are the SSA's 200 most given names a sex and decade, 1960s to 1990s, by births: 690 names
    against the 29,279 of 2022, so coverage and entropy come out well below Table 4.
    `probability` is exact; `count` is rounded, per million births.
    """
    import faker
    from faker.providers.person.en_US import Provider

    pooled: dict[str, float] = {}
    for table in (Provider.first_names_female, Provider.first_names_male):
        total = math.fsum(table.values())
        for name, weight in table.items():
            pooled[name] = pooled.get(name, 0.0) + 0.5 * weight / total
    counts = {name: round(PER * probability) for name, probability in pooled.items()}
    label = f"Faker {faker.VERSION} en_US first-name frequencies (embedded)"
    return natural_table(counts, pooled), label


def parse_births(data: bytes, origin: str) -> Counter[str]:
    """Births by name, both sexes pooled, from the lines `Name,Sex,Count` of a year's file.

    Raises InputError, naming `origin` and the line, for anything else and for a repeated line.
    """
    births: Counter[str] = Counter()
    seen: dict[tuple[str, str], int] = {}
    for number, raw in enumerate(data.splitlines(), start=1):
        line = raw.decode("utf-8", errors="replace")
        match = _LINE.fullmatch(line)
        if match is None:
            raise InputError(
                f"{origin}: line {number} is {line[:80]!r}, expected Name,Sex,Count with sex F or "
                "M and a count of 1 or more"
            )
        name, sex, count = match.groups()
        first = seen.setdefault((name, sex), number)
        if first != number:
            raise InputError(
                f"{origin}: line {number} repeats {name},{sex} of line {first}, expected it once"
            )
        births[name] += int(count)
    if not births:
        raise InputError(f"{origin}: no lines, expected lines of Name,Sex,Count")
    return births


def counted(births: Mapping[str, int]) -> pa.Table:
    """The table of `contracts.NATURAL` whose probabilities are shares of all births."""
    total = sum(births.values())
    return natural_table(births, {name: count / total for name, count in births.items()})


def natural_table(counts: Mapping[str, int], probabilities: Mapping[str, float]) -> pa.Table:
    """One row a name, by falling count, then name."""
    names = sorted(counts, key=lambda name: (-counts[name], name))
    columns = [names, [counts[name] for name in names], [probabilities[name] for name in names]]
    return pa.table(columns, schema=NATURAL)


def draw_reference(natural: pa.Table, n: int, seed: int) -> list[str]:
    """`n` independent draws with replacement: the natural reference of Table 4."""
    probability = natural["probability"].to_numpy()
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = generator.choice(len(probability), size=n, p=probability / probability.sum())
    return natural["name"].take(pa.array(drawn)).to_pylist()


def _sha256(path: Path) -> str:
    """The label of a file's content."""
    from pooch import file_hash

    return f"{path.name}, sha256 {file_hash(str(path))}"
