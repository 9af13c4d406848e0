"""A target set that was deleted and comes back the same makes no adapter stale."""

import pytest

from diffuselm.config.config import read_config
from diffuselm.plan.lost_files import restore_lost_targets
from diffuselm.plan.make_plan import make_plan
from workflow_runs import CONFIG, MODEL, ROOT

LOST = "results/targets/numbers.parquet"


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.chdir(ROOT)
    return make_plan(read_config(CONFIG, "small.yaml"), "small.yaml")


def test_lost_targets_of_finished_adapters_are_written_again(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert restore_lost_targets(plan) == []
    adapter = tmp_path / f"results/adapters/{MODEL}/only-numbers"
    adapter.mkdir(parents=True)
    (adapter / "run.json").write_text("{}")
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    assert restore_lost_targets(plan) == [LOST, LOST.replace("parquet", "json")]
    kept = (tmp_path / LOST).read_bytes()
    (tmp_path / LOST).unlink()
    assert restore_lost_targets(plan) == [LOST]
    assert (tmp_path / LOST).read_bytes() == kept
    assert restore_lost_targets(plan) == []


def test_targets_are_left_where_the_names_that_they_draw_from_are_gone_too(
    plan, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    adapter = tmp_path / f"results/adapters/{MODEL}/only-names"
    adapter.mkdir(parents=True)
    (adapter / "run.json").write_text("{}")
    assert restore_lost_targets(plan) == []
