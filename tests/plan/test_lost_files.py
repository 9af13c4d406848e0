"""A target set that was deleted and comes back the same makes no adapter stale."""

import pytest

from diffuselm.config.config import read_config
from diffuselm.plan.lost_files import warning_of_lost_targets
from diffuselm.plan.plan import make_plan
from workflow_runs import CONFIG, MODEL, ROOT

LOST = "results/targets/numbers.parquet"


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.chdir(ROOT)
    return make_plan(read_config(CONFIG, "small.yaml"), "small.yaml")


def test_lost_targets_of_finished_adapters_are_warned_of(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert warning_of_lost_targets(plan) is None
    adapter = tmp_path / f"results/adapters/{MODEL}/only-numbers"
    adapter.mkdir(parents=True)
    (adapter / "run.json").write_text("{}")
    assert warning_of_lost_targets(plan).startswith(f"{LOST} is gone (of 2), and adapters")
    (tmp_path / LOST).parent.mkdir()
    for suffix in ("parquet", "json"):
        (tmp_path / LOST).with_suffix(f".{suffix}").write_text("")
    assert warning_of_lost_targets(plan) is None
