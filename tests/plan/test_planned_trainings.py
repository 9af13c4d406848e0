"""Trainings among the methods: their own settings and files, in the plan and in its jobs."""

import json
import shlex

import pytest

from diffuselm.config.config import read_config
from diffuselm.errors import InputError
from diffuselm.plan.jobs import of_run
from diffuselm.plan.make_plan import make_plan
from workflow_runs import CONFIG, MODEL


def jobs_of(**methods):
    """What the jobs of each method are told, by its name."""
    raw = {**CONFIG, "leave_one_out": ["names", "numbers"], "methods": methods}
    plan = make_plan(read_config(raw, "c.yaml"), "c.yaml")
    return {name: of_run(plan, MODEL, f"method-{name}") for name in methods}


def option(job, name):
    words = shlex.split(job["training"])
    return words[words.index(f"--{name}") + 1] if f"--{name}" in words else None


def test_settings_of_ours_are_those_of_its_job():
    jobs = jobs_of(
        **{f"rank-{rank}": {"kind": "ours", "settings": {"rank": rank}} for rank in (1, 64)},
        few={"kind": "ours", "targets": 25},
    )
    assert [option(job, "rank") for job in jobs.values()] == ["1", "64", "4"]
    methods = [json.loads(option(job, "method")) for job in jobs.values()]
    assert methods == [{"kind": "ours"}, {"kind": "ours"}, {"kind": "ours", "targets": 25}]


def test_another_kind_of_adapter_has_a_learning_rate_of_its_own_unless_one_is_set():
    jobs = jobs_of(
        ours={"kind": "ours"},
        prefix={"kind": "prefix-tuning"},
        quick={"kind": "prefix-tuning", "settings": {"learning_rate": 0.5}},
        longer={"kind": "prompt-tuning", "settings": {"passes": 3}},
    )
    rates = [float(option(job, "learning-rate")) for job in jobs.values()]
    assert rates == [0.003, 0.01, 0.5, 0.01]
    assert option(jobs["longer"], "passes") == "3"


def test_the_text_to_stay_near_on_is_an_input_of_the_job(tmp_path):
    (tmp_path / "own.txt").write_text("One.\n")
    own = {"kind": "near-base", "text": str(tmp_path / "own.txt")}
    jobs = jobs_of(ours={"kind": "ours"}, near={"kind": "near-base"}, own=own)
    read = [job["trained_from"]["text"] for job in jobs.values()]
    assert read == [[], ["resources/text/near-base.txt"], [own["text"]]]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"kind": "near-base", "text": "nowhere.txt"}, "nowhere.txt"),
        ({"kind": "near-base", "strength": 0}, "c.yaml: methods.one: strength: "),
        ({"kind": "ours", "targets": 0}, "c.yaml: methods.one: targets: "),
        ({"kind": "hard-labels", "text": "a.txt"}, "c.yaml: methods.one: .*text"),
        ({"kind": "full", "settings": {"rnk": 2}}, "c.yaml: methods.one.settings: .*rnk"),
        ({"kind": "prefix-tuning", "virtual_tokens": True}, "methods.one: virtual_tokens: "),
        ({"kind": "drawn"}, "c.yaml: methods.one: kind 'drawn'; expected one of "),
    ],
)
def test_a_training_that_cannot_be_is_refused_in_one_line(entry, said):
    with pytest.raises(InputError, match=said) as error:
        jobs_of(one=entry)
    assert "\n" not in str(error.value)
