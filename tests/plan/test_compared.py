"""What the plan says of methods, and which results a config with methods has."""

import pytest

from diffuselm.config.config import read_config
from diffuselm.plan.display import Display
from diffuselm.plan.make_plan import make_plan
from workflow_runs import CONFIG, ROOT


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.chdir(ROOT)

    def make(**changes):
        return make_plan(read_config(CONFIG | changes, "c.yaml"), "c.yaml")

    return make


def test_methods_are_told_by_way_kind_settings_and_the_tasks_they_are_tuned_on(plan):
    methods = {
        "narrow": {"kind": "top-p", "p": 0.9, "tasks": ["names"]},
        "asked": {"kind": "list-of-answers", "length": 5, "draws": 50},
        "searched": {"kind": "prompt-search", "rewordings": 3},
        "rank-1": {"kind": "ours", "settings": {"rank": 1}, "prompts": ["numbers/1-10"]},
    }
    assert Display(plan(methods=methods)).compared == {
        "method-narrow": {
            "way": "decoding",
            "kind": "top-p",
            "settings": {"p": 0.9},
            "tuned_on": [],
        },
        "method-asked": {
            "way": "prompting",
            "kind": "list-of-answers",
            "settings": {"length": 5},
            "tuned_on": [],
        },
        "method-searched": {
            "way": "prompting",
            "kind": "prompt-search",
            "settings": {"rewordings": 3},
            "tuned_on": [],
        },
        "method-rank-1": {
            "way": "training",
            "kind": "ours",
            "settings": {"rank": 1},
            "tuned_on": ["numbers"],
        },
    }


def test_a_setting_is_told_also_where_it_is_as_by_default(plan):
    near = {"kind": "near-base", "strength": 1, "prompts": ["numbers/1-10"]}
    told = Display(plan(methods={"near": near})).compared["method-near"]
    assert told["settings"] == {"strength": 1}


def test_ours_as_it_is_stands_among_them_where_it_is_tuned(plan):
    [(tuning, ours)] = Display(plan(leave_one_out=None)).compared.items()
    assert (tuning, ours["settings"]) == ("all", {"rank": 4})
    assert ours["tuned_on"] == ["names", "numbers"]


def test_only_a_config_with_methods_compares_them_and_only_curves_make_figure_8(plan):
    def shown(**changes):
        its = Display(plan(**changes))
        return its.has_table(9), its.has_figure(7), its.has_figure(8)

    assert shown() == shown(leave_one_out=None) == (False, False, False)
    rank = {"kind": "ours", "settings": {"rank": 1}}
    alone = {"one": rank | {"prompts": ["numbers/1-10"]}}
    assert shown(methods=alone) == (True, True, False)
    # Ours as it is, is its second point.
    assert shown(methods={"one": rank}, leave_one_out=None) == (True, True, True)
