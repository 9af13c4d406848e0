"""The workflow on a Slurm cluster through profiles/slurm: as on this machine, retried, resumed."""

import re
import signal
import subprocess
import sys
from itertools import chain

import pytest
import yaml

import slurm
from workflow_runs import checkout

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
        command = [sys.executable, "-m", "snakemake", "metrics", *words]
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
    Run(folder, "--cores", "2").ends()
    return folder


@pytest.fixture
def folder(tmp_path):
    return checkout(tmp_path)


@pytest.fixture
def start(folder):
    """Start the workflow through the profile; what a failed test leaves running is stopped."""
    started = []

    def run(*words):
        started.append(Run(folder, *PROFILE, PAUSE, "2", *words))
        return started[-1]

    yield run
    for each in started:
        each.process.kill()
        each.process.wait()


def test_every_gpu_job_and_no_other_runs_under_slurm_with_the_same_bytes(folder, local, start):
    start().ends()
    assert states(folder) == {job: ["COMPLETED"] for job in (TUNING, *SAMPLING)}
    assert {job["TresPerJob"] for job in slurm.jobs_of(folder)} == {"gres:gpu:1"}
    assert_same_results(folder, local)


def test_a_job_that_is_killed_is_tried_again_with_more_memory_and_time(folder, local, start):
    run = start()
    slurm.wait_until(lambda: states(folder).get(TUNING) == ["RUNNING"], "tuning", seconds=300)
    killed = next(job for job in slurm.jobs_of(folder) if job["Comment"] == TUNING)
    subprocess.run(["scancel", killed["JobId"]], check=True)
    assert "Trying to restart job" in run.ends()
    assert states(folder)[TUNING] == ["CANCELLED", "COMPLETED"]
    first, second = (job for job in slurm.jobs_of(folder) if job["Comment"] == TUNING)
    memory = [int(job["MinMemoryNode"].removesuffix("M")) for job in (first, second)]
    assert memory[1] == 2 * memory[0]
    assert first["TimeLimit"] < second["TimeLimit"]
    assert_same_results(folder, local)


def test_a_cancelled_run_leaves_no_job_and_goes_on_where_it_was(folder, local, start):
    # The pause lets the interrupt come between two checks: within one, the plugin has no jobs.
    run = start("--jobs", "1", PAUSE, "6")
    run.until(r"Finished jobid: \d+ \(Rule: tune\)(.|\n)*has been submitted")
    run.process.send_signal(signal.SIGINT)
    run.ends(well=False)
    slurm.wait_until(lambda: set(chain(*states(folder).values())) <= ENDED, "end of all jobs")
    before = states(folder)
    done = [job for job, its in before.items() if its == ["COMPLETED"]]
    assert TUNING in done
    assert [its for job, its in before.items() if job not in done] == [["CANCELLED"]]
    start().ends()
    for job, its in states(folder).items():
        assert its == (before[job] if job in done else [*before.get(job, []), "COMPLETED"])
    assert_same_results(folder, local)
