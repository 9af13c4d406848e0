"""Writing whole: the old stays until the new is safe on disk, and killed writers leave nothing."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from diffuselm.errors import InputError
from diffuselm.files.whole import remove, written_folder, written_whole

PACKAGE = Path(__file__).parents[2] / "workflow"
# Writes to the path given, says so, and ends or dies as standard input says.
WRITER = """
import os, signal, sys
from pathlib import Path
from diffuselm.files.whole import written_folder, written_whole

kind, path = sys.argv[1], Path(sys.argv[2])
with (written_folder if kind == "folder" else written_whole)(path) as part:
    (part / "file" if kind == "folder" else part).write_text("theirs")
    print("writing", flush=True)
    if sys.stdin.readline() != "finish\\n":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def left_beside(path):
    return [name for name in names(path.parent) if name.startswith(".")]


def writer(kind, path):
    started = subprocess.Popen(
        [sys.executable, "-c", WRITER, kind, str(path)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout.readline() == "writing\n"
    return started


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path, kind):
    path = tmp_path / "a[1].x"
    killed = writer(kind, path)
    killed.communicate("die\n")
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    assert len(left_beside(path)) == 1
    (tmp_path / ".a[1].x.early.part").mkdir()  # killed before it made its lock
    with written_whole(tmp_path / "a1.x") as part:
        part.write_text("of another name")
    assert len(left_beside(path)) == 2
    with written_whole(path) as part:
        part.write_text("ours")
    assert path.read_text() == "ours"
    assert not left_beside(path)


def test_a_file_goes_with_what_a_killed_writer_left_of_it(tmp_path):
    path = tmp_path / "a"
    path.write_text("whole")
    writer("file", path).communicate("die\n")
    assert len(left_beside(path)) == 1
    remove(path)
    assert not path.exists()
    assert not left_beside(path)
    remove(path)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_part_of_a_live_writer_stays(tmp_path, kind):
    path = tmp_path / "a"
    with writer(kind, path) as live:
        with (written_folder if kind == "folder" else written_whole)(path) as part:
            (part / "file" if kind == "folder" else part).write_text("ours")
            assert len(left_beside(path)) == 2
        live.communicate("finish\n")
    assert live.returncode == 0
    assert (path / "file" if kind == "folder" else path).read_text() == "theirs"
    assert not left_beside(path)


def test_a_file_is_on_disk_before_it_takes_its_name_and_then_so_is_its_folder(
    tmp_path, monkeypatch
):
    path, fsync, order = tmp_path / "a", os.fsync, []

    def recorded(file):
        order.append((Path(f"/proc/self/fd/{file}").readlink(), path.exists()))
        fsync(file)

    monkeypatch.setattr(os, "fsync", recorded)
    with written_whole(path) as part:
        part.write_text("new")
    assert order == [(part, False), (tmp_path, True)]
    path.unlink()
    order.clear()
    with written_folder(path) as part:
        (part / "in").mkdir()
        (part / "in" / "file").write_text("new")
    assert set(order[:-1]) == {(part / "in" / "file", False), (part / "in", False), (part, False)}
    assert order[-1] == (tmp_path, True)


def fail_within(writing):
    with writing as part:
        (part / "new" if part.is_dir() else part).write_text("new")
        raise InputError


def test_a_failed_block_leaves_the_old_and_no_part(tmp_path):
    for write, old in ((written_whole, tmp_path / "file"), (written_folder, tmp_path / "folder")):
        with write(old) as part:
            (part / "old" if write is written_folder else part).write_text("old")
        with pytest.raises(InputError):
            fail_within(write(old))
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path / "folder") == ["old"]
    assert names(tmp_path) == ["file", "folder"]


def test_a_folder_replaces_the_old_one_wholly(tmp_path):
    for name in ("old", "new"):
        with written_folder(tmp_path / "folder") as part:
            (part / name).write_text(name)
    assert names(tmp_path / "folder") == ["new"]
    assert names(tmp_path) == ["folder"]


def test_permissions_are_what_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        with written_whole(tmp_path / "file") as part:
            part.write_text("")
        with written_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750
