"""The US Social Security Administration's `names.zip`: fetch it, and read one year out of it.

Nothing is extracted: one member is read into memory.
"""

import struct
import zipfile
import zlib
from pathlib import Path

from diffuselm.errors import InputError
from diffuselm.files import web

SSA_URL = "https://www.ssa.gov/oact/babynames/names.zip"
# The site answers 403 to clients that do not look like a browser; the last token says who asks.
USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0 Safari/537.36 diffuselm/0.1"
)
MAX_BYTES = 16 * 2**20  # of one year: none has half a mebibyte

# What the zipfile module raises on damaged bytes, depending on which byte is damaged.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError,
)  # fmt: skip


def download(url: str) -> bytes:
    """The archive at `url`; raises InputError as `web.request` does."""
    expected = "the SSA's names.zip (or fetch it by hand and use source 'file')"
    return web.request("GET", url, headers={"User-Agent": USER_AGENT}, expected=expected).content


def read_year(path: Path, year: int, origin: str) -> bytes:
    """The bytes of `yob{year}.txt` in the archive at `path`, checked against its CRC.

    `origin` names the archive in errors: its URL when `path` is only a temporary file.
    Raises InputError when the file is no zip archive, is damaged, or lacks the year.
    """
    name = f"yob{year}.txt"
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist()}
            if name not in members:
                years = sorted(n[3:7] for n in members if n.startswith("yob"))
                found = f"years {years[0]} to {years[-1]}" if years else "no year at all"
                raise InputError(
                    f"{origin}: no member {name} (found {found}); expected that year's births"
                )
            if (size := members[name].file_size) > MAX_BYTES:
                raise InputError(f"{origin}: {name} has {size} bytes; expected below {MAX_BYTES}")
            return archive.read(name)
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(
            f"{origin}: {_found(path, error)}; expected the SSA's names.zip"
        ) from error


def _found(path: Path, error: Exception) -> str:
    """What came in place of a whole archive."""
    with path.open("rb") as file:
        head = file.read(32)
    if head.startswith(b"PK\x03\x04"):
        return f"a zip archive that is cut short or damaged ({' '.join(str(error).split())})"
    if head.lstrip().startswith(b"<"):
        return f"a web page in place of a zip archive (it begins with {head!r})"
    return f"not a zip archive (it begins with {head!r})"
