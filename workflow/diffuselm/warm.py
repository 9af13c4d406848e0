"""Warm starts: one process loads all libraries, and forks itself for each job of a run.

Torch, transformers and PEFT take five seconds of CPU to import, more than most jobs of a small
model need for all their work. A job's own process then only waits: it hands over its words, folder,
environment and standard streams, passes signals on, and ends as the fork does. Where nobody
answers, a job starts as usual. On Linux alone, and where no GPU is: elsewhere such a process does
not fork safely.
"""

import atexit
import gc
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from diffuselm.last_words import KILLED, end_with, pass_signals_on, peak_of, say_killed

SOCKET = "DIFFUSELM_WARM"  # the environment variable that holds the socket's path
STREAMS = (0, 1, 2)
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def start() -> None:
    """Start that process and name it to the jobs; it ends with this one."""
    if sys.platform != "linux" or any(Path(device).exists() for device in GPUS):
        return
    path = f"{tempfile.mkdtemp(prefix='diffuselm-')}/socket"  # in a folder of this user alone
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen(1024)
        package = str(Path(__file__).parents[1])
        code = (
            f"import sys; sys.path.insert(0, {package!r}); from diffuselm import warm; "
            f"warm.serve({door.fileno()}, {path!r})"
        )
        # One thread for numpy, as Snakemake gives a small job; torch is told by each job.
        environment = os.environ | dict.fromkeys(POOLS, "1") | {"HF_HUB_OFFLINE": "1"}
        server = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.PIPE,  # its end is the end of this process, however it comes
            pass_fds=[door.fileno()],
            env=environment,
            start_new_session=True,  # a terminal's signals reach a fork through its job alone
        )
    os.environ[SOCKET] = path
    atexit.register(server.communicate)


def serve(door: int, path: str) -> None:
    """Fork for each job that connects, until standard input ends."""
    from diffuselm import cli

    for function in cli.COMMANDS.values():
        import_module(f"diffuselm.{function.partition(':')[0]}")
    gc.collect()
    gc.freeze()  # so that a collection in a fork copies no page
    with socket.socket(fileno=door) as listener:
        while 0 not in select.select([listener, 0], [], [])[0]:
            job, _ = listener.accept()
            if not os.fork():
                listener.close()
                _work(job, cli.main)
            job.close()
            _reap(os.WNOHANG)
    shutil.rmtree(Path(path).parent, ignore_errors=True)
    _reap(0)


def _reap(flags: int) -> None:
    """Wait for forks that have ended, or without WNOHANG for all."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, flags)[0]:
            pass


def _work(job: socket.socket, main: Callable[[], None]) -> NoReturn:
    """In the fork: be the process that asked, from its words to its exit code."""
    head, streams, _, _ = socket.recv_fds(job, 8, len(STREAMS))
    if not head:  # it has ended already
        os._exit(0)
    with job.makefile("rb") as file:
        words, folder, environment = json.loads(file.read(int.from_bytes(head)))
    for stream, own in zip(streams, STREAMS, strict=True):
        os.dup2(stream, own)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = words
    end_with(job.fileno())
    job.sendall(os.getpid().to_bytes(8))
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code & 255 if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    job.sendall(bytes([code]))
    os._exit(code)


def hand_over(words: Sequence[str]) -> int | None:
    """The exit code of a command that a fork carried out; None where nobody answers."""
    path = os.environ.get(SOCKET)
    if not path or words[:1] == ["download"]:  # of a workflow's, the one that is not offline
        return None
    request = json.dumps([words, str(Path.cwd()), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as job:
        try:
            job.connect(path)
            socket.send_fds(job, [len(request).to_bytes(8)], STREAMS)
            job.sendall(request)
            pid = int.from_bytes(job.recv(8))
        except OSError:
            return None
        if not pid:
            return None
        pass_signals_on(pid)
        peak = peak_of(pid)
        while not select.select([job], [], [], 1)[0]:
            peak = max(peak, peak_of(pid))
        if code := job.recv(1):
            return code[0]
        say_killed(peak)
        return KILLED
