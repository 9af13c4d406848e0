"""SIGKILL at moments drawn from a seed: the next plain invocation goes on, and nothing is lost.

DIFFUSELM_KILLS says how many are drawn: by default one for each target, each at another moment.
"""

import json
import os
import random
import shutil
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import psutil
from safetensors import safe_open

from diffuselm.files.schemas import DRAWN, SAMPLES, TRAINING
from diffuselm.files.tables import read_table, write_table
from workflow_runs import (
    MODEL,
    Invocation,
    assert_whole,
    copy_of_undisturbed,
    invocation,
    new_folder,
    same,
    snakemake,
    undisturbed,
)

KILLS = int(os.environ.get("DIFFUSELM_KILLS", "3"))
SEED = 28
TARGETS = ("snakemake", "job", "everything")
MOMENTS = ("start", "tune", "sample")
RUN = "only-numbers"
ADAPTER = f"results/adapters/{MODEL}/{RUN}/adapter_model.safetensors"
CHECKPOINT = f"results/checkpoints/tune/{MODEL}/{RUN}.safetensors"
TUNE = ("--cores", "2", "-R", "tune", "--", ADAPTER)
ANSWERS = f"results/samples/{MODEL}/{RUN}.parquet"
PARTS = f"results/checkpoints/sample/{MODEL}/{RUN}"
WAITS = "the same job runs in another process; waiting for its end"
SAMPLE = ("--cores", "2", "--", ANSWERS)
METRICS = ("--cores", "2", "-R", "measure", "--", "results/metrics.parquet")
PROGRESS = {"tune": CHECKPOINT, "sample": f"results/checkpoints/sample/{MODEL}/*/*.parquet"}


class Kill(NamedTuple):
    """What is killed, and when: so long after a job's start, or after progress is written."""

    target: str
    moment: str
    nth: int  # of the jobs that the invocation starts
    delay: float  # in seconds


def drawn(number: int) -> list[Kill]:
    """In each three, every moment as a run comes to it, and every target; in nine, every pair."""
    rng, kills = random.Random(SEED), []
    targets = rng.sample(TARGETS, len(TARGETS))
    for place in range(number):
        moment = MOMENTS[place % 3]
        target = targets[(place + place // 3) % 3]
        delay = rng.uniform(0, 3 if moment == "start" else 0.3)
        kills.append(Kill(target, moment, rng.randint(1, 5), delay))
    return kills


def progress(folder: Path, stage: str) -> set[tuple[str, int]]:
    """The files that a job of the stage would go on from, as the last one wrote them."""
    found = set()
    for file in folder.glob(PROGRESS[stage]):
        with suppress(FileNotFoundError):
            found.add((str(file), file.stat().st_mtime_ns))
    return found


def strike(run: Invocation, kill: Kill, folder: Path, before: set) -> bool:
    """Kill as drawn; False where the invocation was through before."""
    if kill.moment == "start":
        due = run.until(lambda: len(run.started) >= kill.nth)
    else:
        due = run.until(lambda: progress(folder, kill.moment) - before)
    if not due:
        return False
    time.sleep(kill.delay)
    if kill.target == "everything":
        run.kill()
    elif kill.target == "snakemake":
        run.main.kill()
    elif not run.until(lambda: kill_a_job(run, kill.moment)):
        return False
    return run.ends() != 0


def kill_a_job(run: Invocation, stage: str) -> bool:
    """Kill one job, of the stage if there is one; False where none is at work."""
    jobs = run.jobs(stage) or run.jobs()
    try:
        return bool(jobs) and jobs[0].kill() is None
    except psutil.NoSuchProcess:
        return False


def test_after_any_kill_the_next_plain_invocation_goes_on_and_nothing_is_lost(tmp_path):
    """Where a run is whole before its kill is due, the next one begins from nothing."""
    folder = new_folder(tmp_path / "killed")
    with ExitStack() as alive:
        runs = []
        for kill in drawn(KILLS):
            print(kill)
            while not attempt(folder, kill, runs, alive):
                assert_all_done(folder, runs)
                shutil.rmtree(folder / "results")
        snakemake(folder, "--cores", "2")
        assert_all_done(folder, runs)


def attempt(folder: Path, kill: Kill, runs: list[Invocation], alive: ExitStack) -> bool:
    """One plain invocation, killed as drawn; False where it is whole before."""
    before = set() if kill.moment == "start" else progress(folder, kill.moment)
    run = alive.enter_context(invocation(folder, "--cores", "2", alone=True))
    runs.append(run)
    if strike(run, kill, folder, before):
        return True
    assert run.ends() == 0, run.said
    return False


def assert_all_done(folder: Path, runs: list[Invocation]) -> None:
    for run in runs:
        run.wait_for_orphans()
    assert_whole(folder)


def killed(folder: Path, words: tuple[str, ...], made: str) -> None:
    """Kill an invocation, its job included, once a file that matches `made` is there."""
    with invocation(folder, *words) as run:
        assert run.until(lambda: any(folder.glob(made))), run.said
        run.kill()


def test_a_killed_training_goes_on_from_its_checkpoint_and_a_killed_sampling_makes_no_part_again(
    tmp_path,
):
    """Seconds differ in each training: those of the first steps are the killed one's.

    One part is changed before sampling goes on, and comes back in the answers as it was changed.
    """
    folder = copy_of_undisturbed(tmp_path / "run")
    (folder / ANSWERS).unlink()
    killed(folder, ("-R", "tune", *SAMPLE), CHECKPOINT)
    with safe_open(folder / CHECKPOINT, "pt") as file:
        steps = json.loads(file.metadata()["progress"])["history"]
    killed(folder, SAMPLE, f"{PARTS}/samples*.parquet")
    rows = read_table((folder / ADAPTER).with_name("training.parquet"), TRAINING).to_pylist()
    assert 1 <= len(steps) < len(rows) == 64
    assert rows[: len(steps)] == steps
    assert (folder / ADAPTER).read_bytes() == (undisturbed() / ADAPTER).read_bytes()
    assert not (folder / CHECKPOINT).exists()
    part = min((folder / PARTS).glob("samples*.parquet"))
    kept = read_table(part, DRAWN).to_pandas().assign(text="kept")
    write_table(part, kept, DRAWN)
    snakemake(folder, *SAMPLE)
    expected = read_table(undisturbed() / ANSWERS, SAMPLES).to_pandas()
    expected.loc[expected["prompt"].isin(kept["prompt"]), "text"] = "kept"
    pd.testing.assert_frame_equal(read_table(folder / ANSWERS, SAMPLES).to_pandas(), expected)
    assert not (folder / PARTS).exists()


def test_a_training_that_outlives_snakemake_is_waited_for(tmp_path):
    folder = copy_of_undisturbed(tmp_path / "run")
    log = folder / f"results/logs/tune/{MODEL}/{RUN}.log"
    with invocation(folder, *TUNE) as first:
        assert first.until((folder / CHECKPOINT).exists), first.said
        log.unlink()
        (orphan,) = first.jobs("tune")
        orphan.suspend()
        first.main.kill()
        first.ends()
        with invocation(folder, *TUNE) as second:
            assert second.until(lambda: log.exists() and WAITS in log.read_text()), second.said
            orphan.resume()
            assert second.ends() == 0, second.said
        assert not first.processes()
    assert (folder / ADAPTER).read_bytes() == (undisturbed() / ADAPTER).read_bytes()
    assert not (folder / CHECKPOINT).exists()


def test_a_result_that_was_finished_without_snakemake_needs_no_flag(tmp_path):
    """Snakemake is killed at a job's start, and the job goes on to its end."""
    folder = copy_of_undisturbed(tmp_path / "run")
    marks = folder / ".snakemake/incomplete"
    with invocation(folder, *METRICS) as run:
        assert run.until(lambda: any(marks.iterdir()) and run.jobs("measure")), run.said
        run.main.kill()
        run.wait_for_orphans()
    assert same(folder, "metrics/*")
    assert any(marks.iterdir())
    snakemake(folder, *METRICS[:2], *METRICS[-2:])
    assert same(folder, "metrics/*", "metrics.parquet")
    assert not any(marks.iterdir())
