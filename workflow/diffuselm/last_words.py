"""What is said of a job that was killed: it cannot say so, the process that waits for it does.

A kernel without memory kills a process with no warning, and its log would stay empty.
"""

import fcntl
import os
import re
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

KILLED = 128 + signal.SIGKILL  # the exit code, as shells have it


def in_a_child() -> int | None:
    """Fork: None in the child, which is the job; in this process, when it ended, its exit code."""
    waiting, working = socket.socketpair()
    pid = os.fork()
    if not pid:
        waiting.close()
        end_with(working.detach())
        return None
    pass_signals_on(pid)
    _, status, used = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL:
        say_killed(used.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    return code if code >= 0 else 128 - code


def say_killed(peak: int) -> None:
    """Say it on standard error, with the most memory in bytes that the job was seen to hold."""
    held = f"it held {peak / 1e9:.2f} GB"
    print(
        f"error: killed, perhaps for want of memory ({held}); expected room for the model's work",
        file=sys.stderr,
    )


def peak_of(pid: int) -> int:
    """The most memory in bytes that a process held, on Linux; 0 once it is gone."""
    with suppress(OSError):
        held = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text("utf-8"))
        return int(held[1]) * 1024 if held else 0
    return 0


def end_with(other: int) -> None:
    """Let the end of what is at the other side of a socket be the end of this process, too.

    Whatever arrives ends it: SIGIO does so by itself.
    """
    fcntl.fcntl(other, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(other, fcntl.F_SETFL, fcntl.fcntl(other, fcntl.F_GETFL) | os.O_ASYNC)


def pass_signals_on(pid: int) -> None:
    """Let a request to end this process reach the one that works for it."""

    def pass_on(number: int, _: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
