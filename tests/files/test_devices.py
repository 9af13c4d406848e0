"""Devices of a machine: each process has its own until it ends, and those who wait get theirs."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffuselm.errors import InputError
from diffuselm.files import devices
from forks import FORKS

PACKAGE = Path(devices.__file__).parents[2]

LINGERER = """
import atexit, signal, sys
signal.alarm(60)
def leave():
    print("leaving", flush=True)
    sys.stdin.readline()
atexit.register(leave)
from pathlib import Path
from diffuselm.files.devices import lease
lease({"0": None}, 1, Path(sys.argv[1]))
"""


def hold(pipe, folder, names, count, marking):
    """Lease and report what was logged and got, then hold it until told; see Holder."""
    signal.alarm(60)  # ends it in a test that hangs
    told = logging.Handler()
    told.emit = lambda record: pipe.send(record.getMessage())
    logging.getLogger("diffuselm").addHandler(told)
    held = devices.lease({name: torch.device("cpu", int(name)) for name in names}, count, folder)
    held = [device.index for device in held]
    markers = [folder / f"{index}.marker" for index in held if marking]
    for marker in markers:
        marker.touch(exist_ok=False)
    pipe.send(held)
    pipe.recv()
    for marker in markers:
        marker.unlink()


class Holder:
    """A process that leases `count` of the devices named by a digit, and holds them until told."""

    def __init__(self, folder, names, count=1, marking=False):
        self.pipe, its = FORKS.Pipe()
        self.process = FORKS.Process(target=hold, args=(its, folder, names, count, marking))
        self.process.start()
        its.close()

    def says(self):
        """Its next message: the warning that it waits, or the indices that it holds."""
        return self.pipe.recv()

    def gets(self):
        """The indices that it holds, whether it had to wait or not."""
        return next(said for said in iter(self.says, None) if isinstance(said, list))

    def end(self):
        """Let it end, after which it has nothing more to say."""
        self.pipe.send("end")
        self.process.join()
        assert self.process.exitcode == 0
        assert not self.says_more()

    def says_more(self):
        try:
            return self.says()
        except EOFError:
            return None


@pytest.fixture
def start(tmp_path):
    """Start a holder; whatever of them is left at the end of the test is killed."""
    holders = []

    def begin(*args, **kwargs):
        holders.append(Holder(tmp_path, *args, **kwargs))
        return holders[-1]

    yield begin
    for holder in holders:
        holder.process.kill()
        holder.process.join()


def free(folder, name):
    """Whether the device could be had right now."""
    taken = devices._take([folder / f"{name}.lock"], 1)
    for descriptor in (taken or {}).values():
        os.close(descriptor)
    return taken is not None


@pytest.fixture
def none_held(monkeypatch):
    """Leases of this process, forgotten at the end of the test."""
    held = {}
    monkeypatch.setattr(devices, "_held", held)
    yield
    for descriptor in held.values():
        os.close(descriptor)


def fake(*names):
    return {name: torch.device("cpu", index) for index, name in enumerate(names)}


def test_a_third_process_waits_for_the_device_of_the_first_that_ends(start):
    first, second = start("01"), start("01")
    held = [first.says(), second.says()]
    assert sorted(held) == [[0], [1]]
    third = start("01")
    assert third.says() == "waiting for 1 of 2 GPUs (0 1)"
    second.end()
    assert third.says() == held[1]  # it told of the wait once
    third.end()


def test_the_device_of_a_killed_process_is_free_again(start, tmp_path):
    holder = start("0")
    assert holder.says() == [0]
    waiting = start("0")
    assert "waiting" in waiting.says()
    holder.process.kill()
    assert waiting.says() == [0]
    waiting.end()
    assert free(tmp_path, "0")


def test_a_device_is_held_while_the_exit_handlers_run(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", LINGERER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
    ) as process:
        assert process.stdout.readline() == "leaving\n"
        assert not free(tmp_path, "0")
        process.communicate("\n")
    assert free(tmp_path, "0")


def test_requests_for_one_and_for_two_of_three_devices_all_end(start):
    """A marker of each device, which must be new, shows that nobody else holds it."""
    counts = [2, 2, 1, 2, 2, 1, 2, 1]
    holders = [start("012", count, marking=True) for count in counts]
    for holder in holders:
        holder.pipe.send("end")
    said = [list(iter(holder.says_more, None)) for holder in holders]
    assert [len(set(messages[-1])) for messages in said] == counts
    assert all(holder.process.join() or holder.process.exitcode == 0 for holder in holders)


def test_who_waits_for_several_devices_keeps_none_from_others(start):
    assert start("0").says() == [0]
    waiting = start("01", count=2)
    assert "waiting" in waiting.says()
    assert start("1").gets() == [1]
    assert waiting.process.is_alive()


def test_a_request_for_several_is_not_overtaken_by_later_ones_for_one(start):
    first = start("01")
    assert first.says() == [0]
    several = start("01", count=2)
    assert "waiting" in several.says()
    later = start("01")
    assert "waiting" in later.says()  # though one of the two is free
    first.end()
    assert several.says() == [0, 1]
    several.end()
    assert later.says() == [0]


@pytest.mark.usefixtures("none_held")
def test_a_process_that_asks_again_gets_the_devices_that_it_holds(tmp_path):
    held = devices.lease(fake("a", "b", "c"), 2, tmp_path)
    assert devices.lease(fake("a", "b", "c"), 2, tmp_path) == held
    assert devices.lease(fake("a", "b", "c"), 1, tmp_path) == held[:1]
    with pytest.raises(RuntimeError, match="all of them at once"):
        devices.lease(fake("a", "b", "c"), 3, tmp_path)


def test_more_devices_than_there_are_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"^3 GPUs needed, 2 visible; expected [^\n]*$"):
        devices.lease(fake("a", "b"), 3, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_locks_lie_in_a_folder_that_is_this_user_s_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "LOCAL", tmp_path)
    folder = devices._own_folder()
    assert folder == devices._own_folder() == tmp_path / f"diffuselm-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    with pytest.raises(InputError, match=rf"^{folder}: open to other users; expected [^\n]*$"):
        devices._own_folder()
    folder.rename(tmp_path / "elsewhere").chmod(0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="open to other users"):
        devices._own_folder()
    folder.unlink()
    folder.touch()
    with pytest.raises(InputError, match=rf"^{folder}: File exists; expected [^\n]*$"):
        devices._own_folder()


def test_without_a_gpu_it_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices.visible_gpus() == {}
    assert devices.pick_devices(stand_in=False, count=2) == [torch.device("cpu")]


def test_a_stand_in_is_on_the_cpu_where_there_are_gpus(monkeypatch):
    monkeypatch.setattr(devices, "visible_gpus", lambda: fake("a", "b"))
    assert devices.pick_devices(stand_in=True) == [torch.device("cpu")]


@pytest.mark.usefixtures("none_held")
def test_a_model_gets_gpus_of_its_own_and_the_first_is_made_current(tmp_path, monkeypatch):
    current = []
    monkeypatch.setattr(devices, "LOCAL", tmp_path)
    monkeypatch.setattr(devices, "visible_gpus", lambda: fake("a", "b", "c"))
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    picked = devices.pick_devices(stand_in=False, count=2)
    assert picked == [torch.device("cpu", 0), torch.device("cpu", 1)]
    assert current == picked[:1]
    folder = tmp_path / f"diffuselm-{os.getuid()}"
    assert [free(folder, name) for name in "abc"] == [False, False, True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_known_by_its_uuid():
    found = devices.visible_gpus()
    assert list(found.values()) == [torch.device("cuda", i) for i in range(len(found))]
    assert len(found) == torch.cuda.device_count()
    assert all(len(name) == 36 and "/" not in name for name in found)
