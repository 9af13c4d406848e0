"""Checkpoints: a training that was killed goes on to the very adapter that it would have been."""

import itertools
import json
import logging
import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from safetensors import safe_open
from test_loop import PROMPTS, SETTINGS, WIDE, WORDS, changed, out_of_memory_above
from torch.optim.optimizer import register_optimizer_step_post_hook

from diffuselm.model.opening import load_model
from diffuselm.tuning.loop import tune

STEPS = SETTINGS.passes * len(PROMPTS)
DROPOUT = changed(SETTINGS, dropout=0.1)
SEVERAL = sorted(random.Random(0).sample(range(5, STEPS + 1), 4))


class Killed(BaseException):
    """What no part of a training catches."""


@contextmanager
def at_each_step(act):
    """Call `act` with the number of each optimiser step, from 1, before training notes it."""
    numbers = itertools.count(1)
    hook = register_optimizer_step_post_hook(lambda *_: act(next(numbers)))
    try:
        yield
    finally:
        hook.remove()


def trained(base, checkpoint, *, settings=DROPOUT, every=4, prompts=PROMPTS, **arguments):
    """Each step takes a second, by a clock of its own."""
    steps = []
    clock = SimpleNamespace(monotonic=lambda: len(steps))
    with at_each_step(steps.append), mock.patch("diffuselm.tuning.checkpoint.time", clock):
        return tune(base, prompts, settings, 3, checkpoint=checkpoint, every=every, **arguments)


def killed(step, base, checkpoint, **arguments):
    """Train until the step of that number among those that this run takes."""

    def kill(number):
        if number == step:
            raise Killed

    with at_each_step(kill), pytest.raises(Killed):
        trained(base, checkpoint, **arguments)


def resumed(base, checkpoint, **arguments):
    """What training gives, and how many steps it still took."""
    numbers = []
    with at_each_step(numbers.append):
        return trained(base, checkpoint, **arguments), len(numbers)


def adapter(tuned, folder):
    tuned.model.save_pretrained(folder)
    return (folder / "adapter_model.safetensors").read_bytes()


def losses(tuned):
    return [(step.step, step.prompt, step.loss) for step in tuned.history]


def assert_same(found, expected, folder):
    """Equal to the bit, however the training came there."""
    assert losses(found) == losses(expected)
    assert (found.tokens, found.token_budget) == (expected.tokens, expected.token_budget)
    assert adapter(found, folder / "found") == adapter(expected, folder / "expected")


def progress(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["progress"])


@pytest.mark.parametrize("settings", [SETTINGS, DROPOUT], ids=["plain", "dropout"])
def test_a_killed_training_ends_in_the_same_adapter(small_model, tmp_path, settings):
    expected = trained(small_model("Llama"), None, settings=settings)
    for step in SEVERAL:
        path = tmp_path / str(step) / "checkpoint.safetensors"
        killed(step, small_model("Llama"), path, settings=settings)
        torch.rand(step)  # a new process has drawn other numbers
        found, taken = resumed(small_model("Llama"), path, settings=settings)
        assert taken == STEPS - (step - 1) // 4 * 4 < STEPS
        assert_same(found, expected, tmp_path / str(step))


def test_a_process_that_is_killed_loses_only_the_steps_since_its_checkpoint(small_model, tmp_path):
    small_model("Llama").save_pretrained(tmp_path / "base")
    path = tmp_path / "checkpoint.safetensors"
    program = """
import os, signal, sys
from pathlib import Path
import torch
from test_checkpoint import at_each_step, load_model, trained
torch.set_num_threads(1)
base = load_model(Path(sys.argv[1]), dtype="float32", device="cpu")
with at_each_step(lambda number: number == 11 and os.kill(os.getpid(), signal.SIGKILL)):
    trained(base, Path(sys.argv[2]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "base", path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["tests", *sys.path])},
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    load = {"dtype": "float32", "device": "cpu"}
    found, taken = resumed(load_model(tmp_path / "base", **load), path)
    assert taken == STEPS - 8
    assert_same(found, trained(load_model(tmp_path / "base", **load), None), tmp_path)


def test_a_training_may_be_killed_twice(small_model, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    killed(7, small_model("Llama"), path)
    killed(7, small_model("Llama"), path)  # the eleventh: from the fourth on
    found, taken = resumed(small_model("Llama"), path)
    assert taken == STEPS - 8
    assert_same(found, trained(small_model("Llama"), None), tmp_path)


def test_a_training_killed_before_its_first_checkpoint_starts_anew(small_model, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    killed(4, small_model("Llama"), path)
    assert not list(tmp_path.iterdir())
    found, taken = resumed(small_model("Llama"), path)
    assert taken == STEPS
    assert_same(found, trained(small_model("Llama"), None), tmp_path)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    small_model, tmp_path, monkeypatch
):
    path = tmp_path / "checkpoint.safetensors"
    killed(6, small_model("Llama"), path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:

        def kill(descriptor):
            raise Killed

        patch.setattr(os, "fsync", kill)
        with pytest.raises(Killed):
            trained(small_model("Llama"), path)
    assert path.read_bytes() == before
    found, taken = resumed(small_model("Llama"), path)
    assert taken == STEPS - 4
    assert_same(found, trained(small_model("Llama"), None), tmp_path)


def test_the_early_stop_counts_the_whole_pass_that_a_kill_fell_into(small_model, tmp_path):
    settings = changed(DROPOUT, passes=100, stop_ratio=3.0)
    expected = trained(small_model("Llama"), None, settings=settings)
    last, path = len(expected.history), tmp_path / "checkpoint.safetensors"
    assert 2 * len(PROMPTS) < last < 100 * len(PROMPTS)
    # The last step of the two last passes; the checkpoint is of the step before.
    for step in (last - len(PROMPTS), last):
        path.unlink(missing_ok=True)
        killed(step, small_model("Llama"), path, settings=settings, every=step - 1)
        found, taken = resumed(small_model("Llama"), path, settings=settings)
        assert taken == last - (step - 1)
        assert_same(found, expected, tmp_path)


def test_an_adapter_that_is_trained_further_goes_on_after_a_kill(small_model, tmp_path):
    start, path = tmp_path / "start", tmp_path / "checkpoint.safetensors"
    tune(small_model("Llama"), [WORDS], SETTINGS, seed=0).model.save_pretrained(start)
    killed(10, small_model("Llama"), path, start=start)
    found, taken = resumed(small_model("Llama"), path, start=start)
    assert taken == STEPS - 8
    assert_same(found, trained(small_model("Llama"), None, start=start), tmp_path)


def test_a_resumed_training_splits_its_passes_as_the_first_run_did(small_model, tmp_path):
    settings, path = (
        changed(DROPOUT, token_budget=512),
        tmp_path / "checkpoint.safetensors",
    )
    arguments = {"settings": settings, "prompts": [WORDS, WIDE, PROMPTS[3]], "every": 3}

    def limited():
        base = small_model("Llama")
        base.register_forward_pre_hook(out_of_memory_above(100, []), with_kwargs=True)
        return base

    expected = trained(limited(), None, **arguments)
    killed(5, limited(), path, **arguments)
    found, taken = resumed(small_model("Llama"), path, **arguments)  # with all the room it wants
    assert taken == 9 - 3
    assert found.token_budget < 512
    assert_same(found, expected, tmp_path)


@pytest.mark.parametrize("kept", ["seconds", "learning_rate", "optimal"])
def test_steps_before_the_kill_keep_what_was_noted_of_them(small_model, tmp_path, kept):
    path = tmp_path / "checkpoint.safetensors"
    killed(10, small_model("Llama"), path)
    noted = [row[kept] for row in progress(path)["history"]]
    found, _ = resumed(small_model("Llama"), path)
    assert [getattr(step, kept) for step in found.history[:8]] == noted


def test_a_checkpoint_of_another_training_is_not_used(small_model, tmp_path, caplog):
    path = tmp_path / "checkpoint.safetensors"
    killed(10, small_model("Llama"), path, key="one")
    found, taken = resumed(small_model("Llama"), path, key="two")
    assert taken == STEPS
    assert_same(found, trained(small_model("Llama"), None), tmp_path)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{path}: of another training ('one")


def test_a_checkpoint_of_other_parameters_is_not_used(small_model, tmp_path, caplog):
    path = tmp_path / "checkpoint.safetensors"
    killed(10, small_model("Llama"), path)
    settings = changed(DROPOUT, rank=2)
    _, taken = resumed(small_model("Llama"), path, settings=settings)
    assert taken == STEPS
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]


def truncated(data):
    return [data[:length] for length in (0, 5, 8, 200, len(data) // 2, len(data) - 1)]


def with_a_flipped_bit(data):
    """Copies, most of them with the flip in the header, where the metadata are."""
    draw, header = random.Random(0), 8 + int.from_bytes(data[:8], "little")
    places = [*range(8), *(draw.randrange(8, header) for _ in range(20))]
    copies = []
    for place in [*places, *(draw.randrange(header, len(data)) for _ in range(5))]:
        copy = bytearray(data)
        copy[place] ^= 1 << draw.randrange(7)
        copies.append(bytes(copy))
    return copies


@pytest.mark.parametrize("damage", [truncated, with_a_flipped_bit])
def test_a_damaged_checkpoint_is_not_used(small_model, tmp_path, caplog, damage):
    whole = tmp_path / "checkpoint.safetensors"
    killed(10, small_model("Llama"), whole)
    damaged, settings = damage(whole.read_bytes()), changed(DROPOUT, passes=1)
    expected = trained(small_model("Llama"), None, settings=settings)
    for number, data in enumerate(damaged):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(data)
        caplog.clear()
        found, taken = resumed(small_model("Llama"), path, settings=settings)
        assert taken == len(PROMPTS)
        assert losses(found) == losses(expected)
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage().startswith(f"{path}: ")
        assert record.getMessage().endswith(": this checkpoint is not used, training starts anew")
        assert "\n" not in record.getMessage()


def test_nothing_is_written_but_one_safetensors_file(small_model, tmp_path):
    path, written = tmp_path / "folder/checkpoint.safetensors", []

    def look(number):
        if number > 4:  # the fourth step's checkpoint is written after the hook
            assert [*path.parent.iterdir()] == [path]
            written.append(len(progress(path)["history"]))

    with at_each_step(look):
        trained(small_model("Llama"), path, every=4, settings=changed(DROPOUT, passes=4))
    # Every four seconds but at the end, and left to the caller.
    assert written == [4] * 4 + [8] * 4 + [12] * 4 + [16] * 4
    assert [*path.parent.iterdir()] == [path]
    assert len(progress(path)["history"]) == 16


@pytest.mark.parametrize(("every", "saves"), [(0, 9), (0.5, 9), (2.5, 3), (3600, 0)])
def test_checkpoints_come_by_time(small_model, tmp_path, every, saves):
    """A job of few long steps has them as a job of many short ones."""
    with mock.patch("diffuselm.tuning.checkpoint.save") as save:
        settings = changed(DROPOUT, passes=2)
        trained(small_model("Llama"), tmp_path / "c", every=every, settings=settings)
    assert save.call_count == saves


def test_without_a_checkpoint_nothing_is_written(small_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained(small_model("Llama"), None, every=1)
    assert not list(tmp_path.iterdir())
