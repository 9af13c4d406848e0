"""A job's command gets the settings that the config has: none is lost between them, or changed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from diffuselm.cli import COMMANDS, app, command_of
from diffuselm.config.models import OpeningSettings
from diffuselm.config.names import NamesSettings
from diffuselm.config.ranges import RangesSettings
from diffuselm.config.sample import AnswerSettings
from diffuselm.config.tune import LoraSettings, TuneSettings
from diffuselm.plan.options import options

COMMAND = Path(__file__).parents[2] / "workflow/bin/diffuselm"
MADE = {"out": "o"}
ANSWERING = {"targets": ["t"], "tuning": "u", "seed": 1, "checkpoint": "c", "model": "m"}
ARGUMENTS = {"text": "a 'b' \"c\"", "digits": "26", "n": 7, "x": 1.5, "yes": True, "no": False}
# Command, its other options, and settings.
GIVEN = [
    ("names", MADE | {"archive": "a"}, NamesSettings()),
    ("names", MADE | {"archive": "a"}, NamesSettings(source="file", year=1999, file="n 1.zip")),
    ("ranges", MADE | {"seed": 1}, RangesSettings(highs=(5, 7), sizes=(10,), versions=2)),
    ("record", MADE | {"name": "m"}, OpeningSettings()),
    (
        "record",
        MADE | {"name": "m"},
        OpeningSettings(
            dtype="bfloat16",
            four_bit=True,
            gpus=2,
            device_map="auto",
            end_tokens=("<|im_end|>", "</s>"),
            chat_template=Path("t.jinja"),
            template_args=ARGUMENTS,
            leading_space=False,
        ),
    ),
    ("tune", MADE | ANSWERING | {"prompts": ["a/b"]}, LoraSettings(target_modules=("q", "k"))),
    ("tune", MADE | ANSWERING | {"prompts": ["a/b"]}, TuneSettings().of_tuning("only-names")),
    ("tune", MADE | ANSWERING | {"prompts": ["a/b"]}, TuneSettings().of_tuning("rng-10")),
    (
        "sample",
        ANSWERING | {"samples": "s", "exact": "e", "text": "t"},
        AnswerSettings(draws={"a": 2, "b-c": 0}, max_tokens={"a": 8, "b-c": 9}, held=True),
    ),
]


@pytest.mark.parametrize(("command", "others", "settings"), GIVEN)
def test_settings_come_through_the_command_line_as_they_are(command, others, settings):
    words = shlex.split(options(settings, **others))
    _, bound, _ = app.parse_args([command, *words], print_error=False, exit_on_error=False)
    [found] = [value for value in bound.arguments.values() if isinstance(value, type(settings))]
    assert found == settings
    types = {name: type(value) for name, value in getattr(found, "template_args", {}).items()}
    assert types == {k: type(v) for k, v in getattr(settings, "template_args", {}).items()}


def test_the_help_says_what_each_command_does():
    program = [sys.executable, COMMAND, "--help"]
    said = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    for name in COMMANDS:
        assert re.search(rf"│ {name} +[A-Z]\w+ ", said), name


def test_the_command_is_known_whatever_options_stand_before_it():
    """It decides whether the hub may be asked."""
    assert command_of(["--threads", "2", "score", "--model", "tune"]) == "score"
    assert command_of(["tune", "--tuning", "score"]) == "tune"
    assert command_of(["--help"]) is None
