"""Stage `download`: fetch a model from the hub, where there is a network; later jobs need none."""

from pathlib import Path

from diffuselm.errors import InputError
from diffuselm.files.provenance import write_json
from diffuselm.model.hub import download


def run(*, name: str, repo: str, revision: str, out: Path) -> None:
    """Write what was fetched: the commit, and the snapshot folder in the user's cache.

    Raises InputError naming the config's key, see `hub.download`.
    """
    try:
        found = download(repo, revision)
    except InputError as error:
        raise InputError(f"models.{name}: {error}") from error
    write_json(
        out,
        {
            "model": name,
            "repo": found.repo,
            "revision": found.revision,
            "commit": found.commit,
            "path": str(found.path),
        },
    )
