"""A model of the Hugging Face hub, fetched into the user's cache; what keeps it away is one line.

No message repeats what a library or a server says: that may hold a token or a signed address.
"""

import errno
import os
import re
import sys
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, errors, get_cached_repo_tree, snapshot_download
from huggingface_hub.utils import disable_progress_bars
from huggingface_hub.utils.logging import set_verbosity_error

from diffuselm.errors import InputError
from diffuselm.files.json_files import write_json
from diffuselm.model.source.weights import INDEX, WEIGHTS, weight_files

WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt"]
# Folders hold other formats of the same weights, and so do consolidated files.
UNWANTED = ["*/*", "consolidated*"]
ELSEWHERE = "run this stage where there is a network"
UNSET = f"unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, or {ELSEWHERE}"
SIGN_IN = "run `hf auth login` or set HF_TOKEN to a valid token"
COMMIT = re.compile(r"[0-9a-f]{40}")

_OF_THE_DISK = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES,
    errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EIO,
}  # fmt: skip


def download(*, name: str, hub: str, revision: str, out: Path) -> None:
    """Fetch the files of a model that are used, and write the record of the commit and its folder.

    `name` is the model's in the config. Raises InputError as `fetch` does.
    """
    try:
        record = fetch(hub, revision)
    except InputError as error:
        raise InputError(f"models.{name}: {error}") from None
    write_json(out, {"model": name, **record})


def fetch(hub: str, revision: str) -> dict[str, str]:
    """Fetch the files of a model that are used; returns its id, revision, commit and folder.

    `hub` is its id on the hub. The cache is the user's (HF_HOME, HF_HUB_CACHE); a token is that of
    HF_TOKEN or of `hf auth login`. What the cache holds whole is not fetched again, and a commit
    that is whole there, or offline (HF_HUB_OFFLINE) any revision, needs no request. Raises
    InputError, which says what to do, for all that keeps the model away.
    """
    # The library's warnings name addresses, signed ones too, and pass on what a server says.
    set_verbosity_error()
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        folder = _snapshot(hub, revision)
        _check_whole(folder)
    except InputError:
        raise
    except Exception as error:  # a malformed answer surfaces as any kind
        # Without the chain: a library's own text may hold the token.
        raise InputError(f"{_page(hub)} at {revision}: {_advice(error, hub)}") from None
    return {"repo": hub, "revision": revision, "commit": folder.name, "path": str(folder)}


def _snapshot(repo: str, revision: str) -> Path:
    """The folder of the revision in the cache, fetched as far as it is not there."""
    offline = constants.is_offline_mode()
    try:
        get_cached_repo_tree(repo, revision=revision)
    except errors.CachedRepoTreeNotFoundError:
        if not offline:
            _check_weights(repo, revision)
    folder = snapshot_download(
        repo,
        revision=revision,
        allow_patterns=WANTED,
        ignore_patterns=UNWANTED,
        local_files_only=offline,
    )
    return Path(folder)


def _check_weights(repo: str, revision: str) -> None:
    """Raise InputError where a repository has no weights in safetensors, before anything comes.

    As the first request, it also fails soon where there is no network.
    """
    info = HfApi().model_info(repo, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    if not COMMIT.fullmatch(info.sha):
        raise ValueError("not a commit")
    names = {file.rfilename for file in info.siblings}
    if not names & {WEIGHTS, INDEX}:
        raise InputError(
            f"{_page(repo)} at {revision}: neither {WEIGHTS} nor {INDEX} among its {len(names)} "
            "files; expected a model with weights in safetensors"
        )


def _check_whole(folder: Path) -> None:
    """Raise InputError where a file is missing without which no model can be loaded."""
    try:
        if not (folder / "config.json").exists():
            raise InputError(f"{folder}: no config.json; expected a whole model")
        weight_files(folder)
    except InputError as error:
        hint = f" ({UNSET})" if constants.is_offline_mode() else ""
        raise InputError(f"{error}{hint}") from error


def _advice(error: BaseException, repo: str) -> str:
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__:
        return _advice(error.__cause__, repo)
    match error:
        case errors.LocalEntryNotFoundError() | errors.OfflineModeIsEnabled():
            cache = constants.HF_HUB_CACHE
            return f"not whole in the cache {cache}, and the library is offline; {UNSET}"
        case errors.HFValidationError():
            return f"{repo!r} is no repository's id; expected OWNER/NAME"
        case errors.HfHubHTTPError():
            return _refusal(error, repo)
        case httpx2.TimeoutException():
            return f"no answer in time; check the network and the proxy, or {ELSEWHERE}"
        case httpx2.ProxyError():
            return f"the proxy does not let it through; check HTTPS_PROXY, or {ELSEWHERE}"
        case httpx2.ConnectError():
            found = " ".join(str(error).split())  # the system's words, such as "Name … not known"
            return f"no connection ({found}); check the network and the proxy, or {ELSEWHERE}"
        case httpx2.LocalProtocolError() | UnicodeEncodeError():
            return "the token cannot be sent; set HF_TOKEN to one as the hub shows it"
        case httpx2.InvalidURL() | httpx2.UnsupportedProtocol():
            return "HF_ENDPOINT is not a hub's address; expected https://HOST"
        case errors.FileMetadataError():
            pass
        case httpx2.HTTPError() | OSError() | RuntimeError():
            return _broken_off(error)
    return (
        f"an answer that is not a hub's ({type(error).__name__}); check HF_ENDPOINT and the proxy, "
        "and whether the network wants a login first"
    )


def _refusal(error: errors.HfHubHTTPError, repo: str) -> str:
    status = error.response.status_code
    signed_in = "authorization" in error.response.request.headers
    match error, status:
        case errors.GatedRepoError(), _:
            then = "let the token read gated repositories" if signed_in else SIGN_IN
            return f"gated; accept its licence at {_page(repo)} with your account, then {then}"
        case _, 401 if signed_in:
            return f"the hub does not accept the token (HTTP 401); {SIGN_IN}"
        case _, 401:
            return (
                "private, or no such repository (HTTP 401, no token); check its name, and for a "
                f"private one {SIGN_IN}"
            )
        case errors.RevisionNotFoundError(), _:
            return f"no such revision; expected a commit of {_page(repo)}/commits"
        case errors.RepositoryNotFoundError(), _:
            return "no such repository, or one that this account cannot see; check its name"
        case errors.DisabledRepoError(), _:
            return "disabled on the hub; expected one that can be read"
        case _, 403:
            return "access refused (HTTP 403); check that your token may read this repository"
        case _, 429:
            return "too many requests (HTTP 429); run it again later, with HF_TOKEN set"
    if status >= 500:
        return f"the hub fails (HTTP {status}); run it again later"
    return f"HTTP {status}; check that HF_ENDPOINT and the proxy lead to a Hugging Face hub"


def _broken_off(error: Exception) -> str:
    """Advice where the cache cannot be written, or an answer ended too early."""
    number = getattr(error, "errno", None)
    # The library's Rust part, which fetches large files, has the number in its text alone.
    if number is None and (found := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(found[1])
    if number in _OF_THE_DISK:
        where = getattr(error, "filename", None) or constants.HF_HUB_CACHE
        found = f"{where}: {os.strerror(number)}"
        return f"{found}; expected a cache with room that can be written, see HF_HOME"
    return f"interrupted ({type(error).__name__}); run it again, the files that are whole are kept"


def _page(repo: str) -> str:
    """The repository's page; a mirror's address may hold a password, which is left out."""
    return f"{re.sub('//.*@', '//', constants.ENDPOINT)}/{repo}"
