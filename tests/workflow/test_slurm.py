"""The workflow on a Slurm cluster through profiles/slurm: as on this machine, retried, resumed."""

import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from itertools import chain

import pytest
import yaml

import slurm
from workflow_runs import checkout, snakemake

pytestmark = pytest.mark.skipif(bool(slurm.why_not()), reason=slurm.why_not() or "")

MODEL = "tiny-llama"
CONFIG = {
    "models": {MODEL: {"path": f"resources/models/{MODEL}"}},
    "tasks": ["resources/tasks/numbers.yaml"],
    "leave_one_out": [],
    "tunings": {},
    "tune": {"learning_rate": 0.003, "passes": 2, "token_budget": 2048},
    "sample": {"draws": 50},
    "ranges": None,
    "knowledge": None,
    "held_out_text": None,
    "temperatures": [],
}
TUNED = "only-numbers"
# As the comment on each job says.
TUNING = f"rule_tune_wildcards_{MODEL}_{TUNED}"
SAMPLING = [f"rule_sample_wildcards_{MODEL}_{run}" for run in ("base", "held", TUNED)]
TUNED_ANSWERS = f"results/samples/{MODEL}/{TUNED}.parquet"
ENDED = {"COMPLETED", "CANCELLED"}
COMPARED = (
    "results/metrics.parquet",
    f"results/adapters/{MODEL}/{TUNED}/adapter_model.safetensors",
    *(
        f"results/{kind}/{MODEL}/{run}.parquet"
        for kind in ("samples", "exact")
        for run in ("base", "held", TUNED)
    ),
)
# The profile, but with states asked for as often as jobs of some seconds want it.
PROFILE = ("--profile", "profiles/slurm", "--max-status-checks-per-second", "10")
PAUSE = "--slurm-init-seconds-before-status-checks"


class Run:
    """Snakemake at work in a folder, and what it has said so far."""

    def __init__(self, folder, *words):
        (folder / "small.yaml").write_text(yaml.safe_dump(CONFIG))
        command = [sys.executable, "-m", "snakemake", *words]
        self.output = folder / "snakemake.out"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "--configfile", "small.yaml"],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def said(self):
        return self.output.read_text()

    def until(self, pattern):
        """Wait for a line that was said, or for the end, which is then too early."""
        slurm.wait_until(
            lambda: re.search(pattern, self.said()) or self.process.poll() is not None,
            f"line like {pattern!r}",
            seconds=300,
        )
        assert re.search(pattern, self.said()), self.said()

    def ends(self, well=True):
        assert (self.process.wait(timeout=600) == 0) == well, self.said()
        return self.said()


def states(folder):
    """What became of each of the folder's jobs, as Slurm has it: comment -> states, in order."""
    found = {}
    for job in slurm.jobs_of(folder):
        found.setdefault(job["Comment"], []).append(job["JobState"])
    return found


def assert_same_results(folder, other):
    for name in COMPARED:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with slurm.cluster():
        yield


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The same, run on this machine without Slurm."""
    folder = checkout(tmp_path_factory.mktemp("local"))
    snakemake(folder, "--cores", "2", "metrics", config=CONFIG)
    return folder


@contextmanager
def started(folder, *words):
    """The workflow through the profile; what a failed test leaves running is stopped."""
    run = Run(folder, *PROFILE, *words)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.wait()


@pytest.fixture(scope="module")
def submitted(tmp_path_factory):
    """All of it under Slurm, where its tuning is killed once; the folder and what was said."""
    folder = checkout(tmp_path_factory.mktemp("submitted"))
    with started(folder, "metrics", PAUSE, "2") as run:
        slurm.wait_until(lambda: states(folder).get(TUNING) == ["RUNNING"], "tuning", seconds=300)
        killed = next(job for job in slurm.jobs_of(folder) if job["Comment"] == TUNING)
        subprocess.run(["scancel", killed["JobId"]], check=True)
        return folder, run.ends()


def test_every_gpu_job_and_no_other_runs_under_slurm_with_the_same_bytes(submitted, local):
    folder, _ = submitted
    assert {job: its[-1] for job, its in states(folder).items()} == dict.fromkeys(
        (TUNING, *SAMPLING), "COMPLETED"
    )
    assert {job["TresPerJob"] for job in slurm.jobs_of(folder)} == {"gres:gpu:1"}
    assert_same_results(folder, local)


def test_a_job_that_is_killed_is_tried_again_with_more_memory_and_time(submitted):
    folder, said = submitted
    assert "Trying to restart job" in said
    assert states(folder)[TUNING] == ["CANCELLED", "COMPLETED"]
    assert [states(folder)[job] for job in SAMPLING] == [["COMPLETED"]] * len(SAMPLING)
    first, second = (job for job in slurm.jobs_of(folder) if job["Comment"] == TUNING)
    memory = [int(job["MinMemoryNode"].removesuffix("M")) for job in (first, second)]
    assert memory[1] == 2 * memory[0]
    assert first["TimeLimit"] < second["TimeLimit"]


def test_a_cancelled_run_leaves_no_job_and_goes_on_where_it_was(tmp_path, local):
    folder = checkout(tmp_path)
    # The pause lets the interrupt come between two checks: within one, the plugin has no jobs.
    with started(folder, TUNED_ANSWERS, "--jobs", "1", PAUSE, "6") as run:
        run.until(r"Finished jobid: \d+ \(Rule: tune\)(.|\n)*has been submitted")
        run.process.send_signal(signal.SIGINT)
        run.ends(well=False)
    slurm.wait_until(lambda: set(chain(*states(folder).values())) <= ENDED, "end of all jobs")
    assert states(folder) == {TUNING: ["COMPLETED"], SAMPLING[-1]: ["CANCELLED"]}
    with started(folder, TUNED_ANSWERS, PAUSE, "2") as run:
        run.ends()
    assert states(folder) == {TUNING: ["COMPLETED"], SAMPLING[-1]: ["CANCELLED", "COMPLETED"]}
    assert (folder / TUNED_ANSWERS).read_bytes() == (local / TUNED_ANSWERS).read_bytes()
