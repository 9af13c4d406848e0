"""The GPUs of this machine, shared among processes: each job gets devices of its own."""

import hashlib
import itertools
import logging
import os
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from filelock import lock_descriptor

from diffuselm.errors import InputError

# Not TMPDIR: it differs between jobs of one machine, and may lie on a network file system.
LOCAL = Path("/tmp")
POLL = 0.1  # seconds

log = logging.getLogger(__name__)

# Lock file -> its locked descriptor. The kernel closes them when the process ends, however it ends.
# (FileLock would let go at exit, before the GPU's memory is free.)
_held: dict[Path, int] = {}


def pick_devices(stand_in: bool, count: int = 1) -> list[torch.device]:
    """`count` GPUs that are this process's alone until it ends, the first made torch's current one.

    The CPU where there is no GPU, and for a stand-in, which is quicker there.
    """
    gpus = {} if stand_in else visible_gpus()
    if not gpus:
        return [torch.device("cpu")]
    devices = lease(gpus, count)
    torch.cuda.set_device(devices[0])
    return devices


def visible_gpus() -> dict[str, torch.device]:
    """The GPUs that this process may use, by UUID: their numbers differ from job to job."""
    return {
        str(torch.cuda.get_device_properties(index).uuid): torch.device("cuda", index)
        for index in range(torch.cuda.device_count())
    }


def lease(
    devices: Mapping[str, torch.device], count: int = 1, folder: Path | None = None
) -> list[torch.device]:
    """Wait for `count` of the devices, by name, and hold them until this process ends.

    `folder` keeps a lock file for each name (default: this user's, on this machine). A process
    that calls again gets the devices that it holds. Raises InputError where there are too few.
    """
    if count > len(devices):
        raise InputError(
            f"{count} GPUs needed, {len(devices)} visible; expected enough of them: lower `gpus`, "
            "or see CUDA_VISIBLE_DEVICES and what the cluster's job requests"
        )
    folder = folder or _own_folder()
    paths = {folder / f"{name}.lock": device for name, device in devices.items()}
    mine = [path for path in paths if path in _held]
    if mine and len(mine) < count:  # two that each held one and waited for another never would end
        raise RuntimeError(f"{len(mine)} devices leased, then {count}: lease all of them at once")
    if not mine:
        _held.update(_wait_for(list(paths), count, folder))
    return [device for path, device in paths.items() if path in _held][:count]


def _wait_for(paths: Sequence[Path], count: int, folder: Path) -> dict[Path, int]:
    """Lock `count` of the files, all or none at a time; those who wait for the same ones queue up.

    Without the queue, requests for one device could keep overtaking a request for several.
    """
    names = " ".join(sorted(path.stem for path in paths))
    queue = _opened(folder / f"{hashlib.sha256(names.encode()).hexdigest()[:16]}.queue")
    try:
        for attempt in itertools.count():
            first = lock_descriptor(queue, blocking=False)  # true again for its holder
            if first and (taken := _take(paths, count)):
                return taken
            if attempt == 1:
                log.warning("waiting for %d of %d GPUs (%s)", count, len(paths), names)
            time.sleep(POLL)
    finally:
        os.close(queue)


def _take(paths: Sequence[Path], count: int) -> dict[Path, int] | None:
    """Lock `count` of the files, or none where fewer are free; never waits."""
    taken: dict[Path, int] = {}
    for path in paths:
        descriptor = _opened(path)
        if lock_descriptor(descriptor, blocking=False):
            taken[path] = descriptor
        else:
            os.close(descriptor)
        if len(taken) == count:
            return taken
    for descriptor in taken.values():
        os.close(descriptor)
    return None


def _opened(path: Path) -> int:
    """A descriptor of the file, made where it is missing; programs started later do not get it."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _own_folder() -> Path:
    """This user's folder of locks on this machine; raises InputError where another could write."""
    folder = LOCAL / f"diffuselm-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; expected a folder for locks") from error
    found = folder.lstat()
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not own or stat.S_IMODE(found.st_mode) & 0o077:
        raise InputError(f"{folder}: open to other users; expected a folder of yours, mode 0700")
    return folder
