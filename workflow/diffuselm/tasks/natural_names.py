"""The natural distribution of names: how often each is given, both sexes pooled (Section 4.1).

The paper compares with US births of 2022. `embedded` stands in for them without a network.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import faker
import numpy as np
import pyarrow as pa
from faker.providers.person.en_US import Provider

from diffuselm.config.names import NamesSettings
from diffuselm.errors import InputError
from diffuselm.files.json_files import write_json
from diffuselm.files.provenance import file_hash
from diffuselm.files.schemas import NATURAL
from diffuselm.files.tables import write_table
from diffuselm.files.whole import written_whole
from diffuselm.tasks import ssa
from diffuselm.tasks.ssa import SSA_URL
from diffuselm.tasks.texts import value

PER = 1_000_000  # the embedded table has frequencies: its counts are per million births

# Letters of any script, with single joints inside, so that no name carries a brace or a mark.
_LINE = re.compile(r"([^\W\d_]+(?:[ '’-][^\W\d_]+)*),([FM]),([1-9][0-9]{0,8})")


def write_natural(*, names: NamesSettings = NamesSettings(), archive: Path, out: Path) -> None:
    """Stage `names`: write the natural distribution to `out`, and run.json beside it.

    A download is kept as `archive`. run.json has the SHA-256 of the file that was read: the SSA's
    changes every year. Raises InputError, and then writes nothing.
    """
    if names.source == "embedded":
        table, label = embedded()
    elif names.source == "file":
        table, label = from_file(names.file, names.year)
    else:
        table, label = from_ssa(SSA_URL, archive, names.year)
    write_table(out, table, NATURAL)
    record = {"source": names.source, "label": label, "sha256": file_hash(out)}
    write_json(out.with_name("run.json"), record)


def from_ssa(url: str, archive: Path, year: int) -> tuple[pa.Table, str]:
    """Download the SSA's archive and read one year; keep the file only if all of it holds."""
    with written_whole(archive) as part:
        part.write_bytes(ssa.download(url))
        births = parse_births(ssa.read_year(part, year, url), f"{url}: yob{year}.txt")
        sha256 = file_hash(part)
    label = f"US Social Security Administration, births of {year} ({archive.name}, sha256 {sha256})"
    return counted(births), label


def from_file(file: Path, year: int) -> tuple[pa.Table, str]:
    """Read one year from a local `names.zip` or `yobYYYY.txt`; raises InputError for others."""
    if not file.is_file():
        raise InputError(f"{file}: no such file; expected names.zip or yob{year}.txt")
    if file.suffix != ".txt":
        births = parse_births(ssa.read_year(file, year, str(file)), f"{file}: yob{year}.txt")
    elif file.name == f"yob{year}.txt":
        births = parse_births(file.read_bytes(), str(file))
    else:
        raise InputError(f"{file}: expected a file yob{year}.txt for births of {year}")
    return counted(births), f"{file.name}, births of {year} ({file.name}, sha256 {file_hash(file)})"


def embedded() -> tuple[pa.Table, str]:
    """Faker's US first names: each sex normalised to 1, then pooled half and half.

    They are the SSA's 200 most given names a sex and decade, 1960s to 1990s, by births: 690 names
    against the 29,279 of 2022, so coverage and entropy come out well below Table 4.
    `probability` is exact; `count` is rounded, per million births.
    """
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
    seen = set()
    for number, raw in enumerate(data.splitlines(), start=1):
        line = raw.decode("utf-8", errors="replace")
        match = _LINE.fullmatch(line)
        if match is None or match.group(1, 2) in seen:
            raise InputError(
                f"{origin}: line {number} is {line[:80]!r}, expected Name,Sex,Count with sex F or "
                "M, a count of 1 or more, and each name and sex once"
            )
        seen.add(match.group(1, 2))
        births[match[1]] += int(match[3])
    if not births:
        raise InputError(f"{origin}: no lines, expected lines of Name,Sex,Count")
    return births


def counted(births: Mapping[str, int]) -> pa.Table:
    """The table of `schemas.NATURAL` whose probabilities are shares of all births."""
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


def draw_names(natural: pa.Table, n: int, seed: int) -> list[str]:
    """`n` distinct names, as repeated draws give them.

    A name that was drawn before is dropped and drawing goes on, so frequent names tend to come
    first (section 4.2). Raises InputError for fewer than `n` names of positive probability, and
    for probabilities that are negative or not finite.
    """
    p = natural["probability"].to_numpy()
    try:
        drawn = np.random.default_rng(seed).choice(len(p), n, replace=False, p=p / math.fsum(p))
    except ValueError as error:
        raise InputError(
            f"{len(p)} names ({error}); expected {n} or more of positive probability"
        ) from error
    return [value(name) for name in natural["name"].take(pa.array(drawn)).to_pylist()]
