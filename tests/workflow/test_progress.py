"""What a person sees of a long run: how far each job is, and how long the whole may take."""

import logging
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from diffuselm.plan.running_jobs import RunningJobs

ROOT = Path(__file__).parents[2]
LOOP = """
import time
from diffuselm.progress import progress
for _ in progress(range(3), unit="prompts", every=0):
    time.sleep(0.01)
"""
SNAKEFILE = f"""
import sys
import termios
sys.path.insert(0, "{ROOT / "workflow"}")
from diffuselm.plan.running_jobs import RunningJobs, tell
onstart:
    tell(RunningJobs({{"tune": 2, "all": 1}}, ["tune"], say=logger.info), logger, every=0.5)
rule all:
    input: expand("{{model}}.txt", model=["a", "b"])
rule tune:
    output: "{{model}}.txt"
    log: "{{model}}.log"
    shell: "echo '40% 2 of 5 steps' > {{log}}; sleep 1.4; touch {{output}}"
"""


def loop(**options):
    return subprocess.run(
        [sys.executable, "-c", LOOP],
        env={**os.environ, "PYTHONPATH": "workflow"},
        cwd=ROOT,
        **options,
    )


def test_a_log_gets_whole_lines_with_the_time_left():
    lines = loop(stderr=subprocess.PIPE, text=True, check=True).stderr
    assert "\r" not in lines
    first, *_, last = lines.splitlines()
    assert first == "0% 0 of 3 prompts, 00:00 passed, ? left"
    assert re.fullmatch(r"100% 3 of 3 prompts, \d\d:\d\d passed, 00:00 left", last)


def test_a_terminal_gets_a_bar_in_one_line():
    main, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    loop(stderr=end, check=True)
    os.close(end)
    assert b"\r100%|" in os.read(main, 1 << 16)
    os.close(main)


@pytest.fixture
def jobs(tmp_path):
    """Two rules take time; the clock stands at what the test sets."""
    jobs = RunningJobs(
        {"tune": 3, "sample": 1, "all": 1},
        ["tune", "sample"],
        clock=lambda: jobs.now,
        say=lambda line: jobs.said.append(line),
    )
    jobs.now, jobs.folder, jobs.said = 1e9, tmp_path, []
    return jobs


def happen(jobs, event, **what):
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, "", (), None)
    record.__dict__.update(event=event, **what)
    jobs.handle(record)


def start(jobs, number, rule="tune"):
    log = jobs.folder / f"{number}.log"
    wildcards = {"model": "m", "run": str(number)}
    happen(jobs, "job_info", jobid=number, rule_name=rule, wildcards=wildcards, log=[str(log)])
    return log


def test_time_left_is_not_known_before_a_job_ended(jobs):
    assert jobs.text() == ""
    start(jobs, 1)
    jobs.now += 120
    assert jobs.text().splitlines() == [
        "0 of 5 jobs are done; time left is not known yet (no job of tune, sample has ended). "
        "Running:",
        "    tune m/1, 2 min: no word yet",
    ]


def test_time_left_is_that_of_jobs_that_ended(jobs):
    start(jobs, 1)
    start(jobs, 2)
    jobs.now += 600
    happen(jobs, "job_finished", job_id=1)
    happen(jobs, "job_finished", job_id=2)
    start(jobs, 3)
    jobs.now += 120
    # One of 10 minutes, of which 2 have passed, while two ran at once.
    assert jobs.text().startswith(
        "2 of 5 jobs are done; about 4 min left, without sample, of which no job has ended. "
    )
    happen(jobs, "job_finished", job_id=3)
    start(jobs, 4, "sample")
    assert "time left is not known yet (no job of sample has ended)" in jobs.text()
    happen(jobs, "job_error", jobid=4)
    assert jobs.text() == ""


def test_a_job_is_told_by_the_last_line_of_its_own_log(jobs):
    log = start(jobs, 1)
    log.write_text("a warning\n 40% 2 of 5 steps\n\n")
    os.utime(log, (jobs.now - 60,) * 2)  # of an earlier attempt
    assert jobs.text().endswith("tune m/1, 0 min: no word yet")
    os.utime(log, (jobs.now,) * 2)
    assert jobs.text().endswith("tune m/1, 0 min: 40% 2 of 5 steps")
    jobs.now += 180
    assert jobs.text().endswith("tune m/1, 3 min: 40% 2 of 5 steps (3 min ago)")


def test_a_job_that_took_long_says_at_its_end_what_it_found(jobs):
    log = start(jobs, 1, "sample")
    log.write_text("100% 3 of 3 prompts scored\nentropy in nats: numbers 1.25\n")
    os.utime(log, (jobs.now,) * 2)
    start(jobs, 2, "all")
    happen(jobs, "job_finished", job_id=1)
    happen(jobs, "job_finished", job_id=2)
    assert jobs.said == ["sample m/1: entropy in nats: numbers 1.25"]


def test_snakemake_tells_of_its_jobs(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    first = r"0 of 3 jobs .* not known .* Running:\n    tune [ab], 0 min: 40% 2 of 5 steps"
    assert re.search(first, done.stderr)
    assert "1 of 3 jobs are done; about 0 min left. Running:" in done.stderr
    assert len(re.findall(r"^tune [ab]: 40% 2 of 5 steps$", done.stderr, re.MULTILINE)) == 2
