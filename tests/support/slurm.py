"""A Slurm cluster of one node, this machine, on loopback: real daemons, two pretended GPUs."""

import fcntl
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

ETC = Path("/etc/slurm")  # programs of a job find the configuration nowhere else
MARKER = "# written by the tests of diffuselm"
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")
CONFIG = """\
{marker}
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
MinJobAge=3600
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory={memory} Gres=gpu:2
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE
"""


def why_not() -> str | None:
    """What keeps the cluster from being started here, if anything."""
    if missing := [program for program in NEEDED if shutil.which(program) is None]:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "the daemons of Slurm need root"
    for name in ("slurm.conf", "gres.conf"):
        if (ETC / name).exists() and not (ETC / name).read_text().startswith(MARKER):
            return f"{ETC / name} is somebody else's"
    return None


@contextmanager
def cluster() -> Iterator[None]:
    """Run munged, slurmctld and slurmd for as long as the block; one such cluster at a time."""
    with ExitStack() as stack:
        lock = stack.enter_context(Path(tempfile.gettempdir(), "diffuselm-slurm.lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        folder.chmod(0o755)
        for name, text in _configuration(folder).items():
            stack.callback((ETC / name).unlink)
            (ETC / name).write_text(text)
        munge = [f"--{file}-file={folder}/munge.{file}" for file in ("key", "pid", "seed", "log")]
        socket_option = f"--socket={folder}/munge.socket"
        for command in (
            ["munged", "--foreground", "--force", *munge, socket_option],
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D"],
        ):
            stack.enter_context(_daemon(command, folder))
        try:
            wait_until(lambda: _answer("sinfo", "-h", "-o", "%T") == "idle", "idle node")
        except TimeoutError as error:
            for output in folder.glob("*.out"):
                error.add_note(f"{output.name}:\n{output.read_text()[-2000:]}")
            raise
        stack.callback(_cancel_all)
        yield


def jobs_of(workdir: Path) -> list[dict[str, str]]:
    """What Slurm knows of the jobs of a working directory, also of ended ones, in their order."""
    lines = _answer("scontrol", "show", "jobs", "--oneliner").splitlines()
    found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
    chosen = [job for job in found if job.get("WorkDir") == str(workdir)]
    return sorted(chosen, key=lambda job: int(job["JobId"]))


def wait_until(condition, awaited: str, seconds: float = 60) -> None:
    """Poll; raises TimeoutError that names what did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {awaited} within {seconds} s")
        time.sleep(0.1)


def _configuration(folder: Path) -> dict[str, str]:
    for part in ("state", "spool"):
        (folder / part).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    host = socket.gethostname().partition(".")[0]
    return {
        "slurm.conf": CONFIG.format(
            marker=MARKER, host=host, ports=_free_ports(2), folder=folder, memory=memory
        ),
        "gres.conf": f"{MARKER}\nName=gpu File=/dev/null\nName=gpu File=/dev/zero\n",
    }


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        bound = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in bound]


@contextmanager
def _daemon(command: Sequence[str], folder: Path) -> Iterator[None]:
    with (folder / f"{command[0]}.out").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


def _answer(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _cancel_all() -> None:
    _answer("scancel", "--me")
    wait_until(lambda: not _answer("squeue", "-h"), "empty queue")
