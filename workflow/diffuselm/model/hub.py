"""A model of the Hugging Face hub, fetched into the user's cache; what keeps it away is one line.

No message repeats what a library or a server says: that may hold a token or a signed address.
"""

import errno
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from httpx2 import (
    ConnectError,
    HTTPError,
    InvalidURL,
    LocalProtocolError,
    ProxyError,
    TimeoutException,
    UnsupportedProtocol,
)
from huggingface_hub import HfApi, constants, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    DisabledRepoError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars
from huggingface_hub.utils.logging import set_verbosity_error

from diffuselm.errors import InputError

WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt"]
# Folders hold other formats of the same weights, and so do consolidated files.
UNWANTED = ["*/*", "consolidated*"]
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ELSEWHERE = "run this stage where there is a network"
UNSET = f"unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, or {ELSEWHERE}"
COMMIT = re.compile(r"[0-9a-f]{40}")

# All that the library is seen to raise; a malformed answer surfaces as any of the second line.
_FAILURES = (
    HTTPError, InvalidURL, OSError, RuntimeError,
    ValueError, KeyError, TypeError, AttributeError, AssertionError,
)  # fmt: skip
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EIO)


@dataclass(frozen=True)
class Download:
    """A model of the hub on this machine: its commit (40 hex digits) and its snapshot folder."""

    repo: str
    revision: str
    commit: str
    path: Path


def download(repo: str, revision: str) -> Download:
    """Fetch the files of a model that are used, unless the cache has them already.

    The cache is the user's (HF_HOME, HF_HUB_CACHE); a token is that of HF_TOKEN or of
    `hf auth login`. Whole files of an interrupted download are kept and not fetched again. A commit
    that is whole in the cache, or offline (HF_HUB_OFFLINE) any revision, is used without a request.

    Raises InputError, one line that says what to do, for all that keeps the model away, and for a
    repository without weights in safetensors.
    """
    # The library's warnings name addresses, signed ones too, and pass on what a server says.
    set_verbosity_error()
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        folder = _cached(repo, revision) or _fetched(repo, revision)
        _check_whole(folder)
    except InputError:
        raise
    except _FAILURES as error:
        # Without the chain: a library's own text may hold the token.
        raise InputError(f"{_page(repo)} at {revision}: {_advice(error, repo)}") from None
    return Download(repo, revision, folder.name, folder)


def _cached(repo: str, revision: str) -> Path | None:
    """The snapshot in the cache, where it is surely whole and surely of that revision."""
    if constants.is_offline_mode():
        return _snapshot(repo, revision, local_files_only=True)
    if not COMMIT.fullmatch(revision):
        return None
    try:
        # Without the list of its files, a snapshot in part would pass for a whole one.
        get_cached_repo_tree(repo, revision=revision)
        return _snapshot(repo, revision, local_files_only=True)
    except (CachedRepoTreeNotFoundError, LocalEntryNotFoundError):
        return None


def _fetched(repo: str, revision: str) -> Path:
    """The snapshot as the hub gives it, after a look at the list of its files."""
    # The first request, so that no long retry precedes the news that there is no network.
    info = HfApi().model_info(repo, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    if not COMMIT.fullmatch(info.sha):
        raise ValueError("not a commit")
    names = {file.rfilename for file in info.siblings}
    if not names & {WEIGHTS, INDEX}:
        raise InputError(
            f"{_page(repo)} at {revision}: neither {WEIGHTS} nor {INDEX} among its {len(names)} "
            "files; expected a model with weights in safetensors"
        )
    return _snapshot(repo, revision)


def _snapshot(repo: str, revision: str, *, local_files_only: bool = False) -> Path:
    folder = snapshot_download(
        repo,
        revision=revision,
        allow_patterns=WANTED,
        ignore_patterns=UNWANTED,
        local_files_only=local_files_only,
    )
    return Path(folder)


def _check_whole(folder: Path) -> None:
    """Raise InputError where a file is missing without which no model can be loaded."""
    names = [WEIGHTS]
    if not (folder / WEIGHTS).exists() and (folder / INDEX).exists():
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            names = sorted({str(name) for name in index["weight_map"].values()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{folder / INDEX}: no weight_map; expected one") from error
    for name in ("config.json", *names):
        if not (folder / name).exists():
            hint = f" ({UNSET})" if constants.is_offline_mode() else ""
            raise InputError(f"{folder}: no {name}; expected a whole model{hint}")


def _advice(error: Exception, repo: str) -> str:
    """What keeps the model away, and what to do about it."""
    cause = error.__cause__
    if isinstance(error, LocalEntryNotFoundError) and isinstance(cause, _FAILURES):
        return _advice(cause, repo)
    match error:
        case LocalEntryNotFoundError() | OfflineModeIsEnabled():
            return (
                f"not whole in the cache {constants.HF_HUB_CACHE}, and the library is offline; "
                f"{UNSET}"
            )
        case HfHubHTTPError():
            return _refusal(error, repo)
        case HTTPError() | InvalidURL():
            return _network(error)
        case HFValidationError():
            return f"{repo!r} is no repository's id; expected OWNER/NAME"
        case UnicodeEncodeError():
            return _network(LocalProtocolError(""))
        case FileMetadataError():
            pass
        case OSError() | RuntimeError():
            return _disk(error)
    return (
        f"an answer that is not a hub's ({type(error).__name__}); check HF_ENDPOINT and the proxy, "
        "and whether the network wants a login first"
    )


def _refusal(error: HfHubHTTPError, repo: str) -> str:
    """Advice on an answer of the hub that is an error."""
    status = error.response.status_code
    signed_in = "authorization" in error.response.request.headers
    match error, status:
        case GatedRepoError(), _:
            accept = f"gated; accept its licence at {_page(repo)} with your account"
            if signed_in:
                return f"{accept}, and let the token read gated repositories"
            return f"{accept}, then run `hf auth login` or set HF_TOKEN"
        case _, 401 if signed_in:
            return (
                "the hub does not accept the token (HTTP 401); set HF_TOKEN to a valid one, or "
                "unset it and run `hf auth login`"
            )
        case _, 401:
            return (
                "private, or no such repository (HTTP 401, no token); check its name, and for a "
                "private one run `hf auth login` or set HF_TOKEN"
            )
        case RevisionNotFoundError(), _:
            return f"no such revision; expected a commit of {_page(repo)}/commits"
        case RepositoryNotFoundError(), _:
            return "no such repository, or one that this account cannot see; check its name"
        case DisabledRepoError(), _:
            return "disabled on the hub; expected one that can be read"
        case _, 403:
            return "access refused (HTTP 403); check that your token may read this repository"
        case _, 429:
            return "too many requests (HTTP 429); run it again later, with HF_TOKEN set"
    if status >= 500:
        return f"the hub fails (HTTP {status}); run it again later"
    return f"HTTP {status}; check that HF_ENDPOINT and the proxy lead to a Hugging Face hub"


def _network(error: Exception) -> str:
    """Advice where no answer came, or none that could be read to its end."""
    match error:
        case TimeoutException():
            return f"no answer in time; check the network and the proxy, or {ELSEWHERE}"
        case ProxyError():
            return f"the proxy does not let it through; check HTTPS_PROXY, or {ELSEWHERE}"
        case ConnectError():
            found = " ".join(str(error).split())  # the system's words, such as "Name … not known"
            return f"no connection ({found}); check the network and the proxy, or {ELSEWHERE}"
        case LocalProtocolError():
            return "the token cannot be sent; set HF_TOKEN to one as the hub shows it"
        case InvalidURL() | UnsupportedProtocol():
            return "HF_ENDPOINT is not a hub's address; expected https://HOST"
    return _interrupted(error)


def _disk(error: OSError | RuntimeError) -> str:
    """Advice where the cache cannot be written, or where the file that came is not whole."""
    number = getattr(error, "errno", None)
    # The library's Rust part, which fetches large files, tells the number in its text alone.
    if number is None and (told := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(told[1])
    if number not in (*_FULL, *_CLOSED):
        return _interrupted(error)
    cache, found = constants.HF_HUB_CACHE, os.strerror(number).lower()
    if number in _CLOSED:
        where = getattr(error, "filename", None) or cache
        return f"{where}: {found}; expected a cache that can be written, see HF_HOME"
    there = next(folder for folder in Path(cache, "x").absolute().parents if folder.exists())
    free = shutil.disk_usage(there).free / 1e9
    return (
        f"{found} in the cache {cache} ({free:.3f} GB free); free some, or set HF_HOME to a "
        "folder on a larger disk"
    )


def _interrupted(error: Exception) -> str:
    return f"interrupted ({type(error).__name__}); run it again, the files that are whole are kept"


def _page(repo: str) -> str:
    """The repository's page; a mirror's address may hold a password, which is left out."""
    return f"{re.sub('//.*@', '//', constants.ENDPOINT)}/{repo}"
