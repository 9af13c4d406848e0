"""One lock: what the README's commands install is what a conda environment installs."""

from pathlib import Path

import yaml

ENVS = Path(__file__).parents[2] / "envs"


def lock():
    lines = (ENVS / "requirements.lock").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_conda_environment_installs_the_lock():
    environment = yaml.safe_load((ENVS / "diffuselm.yaml").read_text())
    assert environment["dependencies"][-1] == {"pip": lock()}


def test_every_version_is_exact_and_names_no_host():
    assert "torch==2.13.0" in lock()
    for line in lock():
        name, _, version = line.partition("==")
        assert name, line
        assert version, line
        assert not set(line) & set("+@/:"), line


def test_every_requirement_is_locked():
    wanted = [
        line.partition("==")[0].partition("[")[0]
        for line in (ENVS / "requirements.in").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    locked = {line.partition("==")[0] for line in lock()}
    assert [name for name in wanted if name not in locked] == []
