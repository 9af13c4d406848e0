"""The US Social Security Administration's `names.zip`: fetch it, and read one year out of it.

Nothing is ever extracted: the archive is checked member by member, then one file is read into
memory. Whatever is wrong with the answer of the server or with the archive is one `InputError`.
"""

import logging
import stat
import struct
import sys
import time
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PureWindowsPath

from diffuselm.errors import InputError

SSA_URL = "https://www.ssa.gov/oact/babynames/names.zip"
# The site answers 403 to clients that do not look like a browser; the last token says who asks.
USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0 Safari/537.36 diffuselm/0.1"
)
ATTEMPTS = 5
BACKOFF_SECONDS = 2.0  # before the second attempt; doubled before each later one
TIMEOUT_SECONDS = 60.0  # without a byte from the server

# The archive has about 150 members, none above half a mebibyte and 30 MiB in all: these limits
# leave decades of room and still refuse a decompression bomb.
MAX_MEMBERS = 1_000
MAX_MEMBER_BYTES = 16 * 2**20
MAX_TOTAL_BYTES = 256 * 2**20

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# What the zipfile module raises on damaged bytes, depending on which byte is damaged.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError,
)  # fmt: skip

log = logging.getLogger(__name__)


def download(url: str, path: Path) -> None:
    """Download `url` to `path`, trying up to `ATTEMPTS` times with exponential back-off.

    Retried: no connection, a time-out, a body cut short, and HTTP 408, 429 and 5xx. Any other
    answer, such as 403 or 404, would come back the same and ends at once. A progress bar is shown
    when standard error is a terminal. The caller removes `path` after an error.

    Raises InputError with the URL and the last failure.
    """
    # pooch and requests take a third of a second to import, and offline runs need neither.
    import requests
    from pooch import HTTPDownloader

    # pooch's own retry is linear, and also repeats answers that are final, such as 403.
    fetch = HTTPDownloader(
        progressbar=sys.stderr.isatty(),
        chunk_size=2**16,
        headers={"User-Agent": USER_AGENT},
        timeout=TIMEOUT_SECONDS,
    )
    for attempt in range(1, ATTEMPTS + 1):
        try:
            fetch(url, str(path), None)
            return
        except requests.RequestException as error:
            cause = _cause(error)
            if attempt == ATTEMPTS or not _may_pass(error):
                raise InputError(
                    f"{url}: download failed after {attempt} attempt(s) ({cause}); expected the "
                    "SSA's names.zip (or fetch it by hand and use source 'file')"
                ) from error
        wait = BACKOFF_SECONDS * 2 ** (attempt - 1)
        log.warning("%s: %s; trying again in %g s", url, cause, wait)
        time.sleep(wait)


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    import requests

    if isinstance(error, requests.HTTPError):
        status = error.response.status_code
        return status in {408, 429} or status >= 500
    passing = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, passing)


def _cause(error: Exception) -> str:
    """An exception of requests, in one line."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code} {response.reason}"
    return " ".join(f"{type(error).__name__}: {error}".split())


def read_year(path: Path, year: int, origin: str) -> bytes:
    """The bytes of `yob{year}.txt` in the archive at `path`, checked against its CRC.

    Every member is checked first, see `check_members`. `origin` names the archive in errors: its
    URL when `path` is only a temporary file.

    Raises InputError when the file is no zip archive, is damaged or unsafe, or lacks the year.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive.infolist(), origin)
            return _read_member(archive, f"yob{year}.txt", origin)
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(
            f"{origin}: {_damage(path, error)}; expected the SSA's names.zip"
        ) from error


def check_members(members: list[zipfile.ZipInfo], origin: str) -> None:
    """Refuse an archive that no careful program would unpack.

    Raises InputError for too many members, a name twice, and, naming the member: a path that
    leaves the folder, a link or device, an encrypted or oddly compressed member, and a size
    beyond `MAX_MEMBER_BYTES` or, in all, `MAX_TOTAL_BYTES`.
    """
    if len(members) > MAX_MEMBERS:
        raise InputError(f"{origin}: {len(members)} members, expected at most {MAX_MEMBERS}")
    for name, times in Counter(member.filename for member in members).items():
        if times > 1:
            raise InputError(f"{origin}: member {name!r} occurs {times} times, expected once")
    for member in members:
        if fault := _fault(member):
            raise InputError(f"{origin}: member {member.orig_filename!r} {fault}")
    total = sum(member.file_size for member in members)
    if total > MAX_TOTAL_BYTES:
        raise InputError(
            f"{origin}: {total} bytes unpacked, expected at most {MAX_TOTAL_BYTES} in all"
        )


def _fault(member: zipfile.ZipInfo) -> str | None:
    """What is wrong with one member, or None."""
    # Windows' path rules include those of POSIX; `filename` would be cut at a NUL byte.
    path = PureWindowsPath(member.orig_filename)
    if path.anchor or ".." in path.parts or "\0" in member.orig_filename:
        return "has an unsafe path, expected one inside the archive"
    if stat.S_IFMT(member.external_attr >> 16) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "is a link or device, expected a plain file"
    if member.flag_bits & 0x1:
        return "is encrypted, expected a plain file"
    if member.compress_type not in _METHODS:
        return f"has compression method {member.compress_type}, expected stored or deflated"
    if member.file_size > MAX_MEMBER_BYTES:
        return f"unpacks to {member.file_size} bytes, expected at most {MAX_MEMBER_BYTES}"
    return None


def _read_member(archive: zipfile.ZipFile, name: str, origin: str) -> bytes:
    """One member whole; reading to its end compares its CRC."""
    if name not in archive.namelist():
        years = sorted(n[3:7] for n in archive.namelist() if n.startswith("yob"))
        found = f"years {years[0]} to {years[-1]}" if years else "no year at all"
        raise InputError(f"{origin}: no member {name} (found {found}); expected that year's births")
    with archive.open(name) as member:
        # Bounded, because a member may unpack to more than its header declares.
        return member.read(MAX_MEMBER_BYTES + 1)


def _damage(path: Path, error: Exception) -> str:
    """What came in place of a whole archive."""
    with path.open("rb") as file:
        head = file.read(32)
    if head.startswith(b"PK\x03\x04"):
        return f"a zip archive that is cut short or damaged ({' '.join(str(error).split())})"
    if head.lstrip().startswith(b"<"):
        return f"a web page in place of a zip archive (it begins with {head!r})"
    return f"not a zip archive (it begins with {head!r})"
