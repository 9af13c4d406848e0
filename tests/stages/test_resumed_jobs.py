"""What an interrupted job has done is taken up by the same job alone: not by one that asks else."""

from pathlib import Path

import pytest
import yaml

from diffuselm.stages import sample, sweep, targets, tune
from diffuselm.tuning.loop import Hyperparameters
from records import write_record

MODEL = Path(__file__).parents[2] / "resources/models/tiny-llama"
TASK = {"text": "Output a number, like this: {number}.", "targets": [1, 2, 3]}
TUNING = Hyperparameters(
    rank=4,
    alpha=8,
    dropout=0.0,
    target_modules=("q_proj",),
    learning_rate=0.01,
    eps=1e-5,
    max_grad_norm=1.0,
    passes=4,
    stop_ratio=None,
    token_budget=2048,
)
SAMPLING = sample.SamplingSettings(
    draws={"own": 30}, max_tokens={"own": 8}, held=False, token_budget=2048, pass_budget=2048
)


@pytest.fixture
def folder(tmp_path):
    write_record(tmp_path / "m.json", MODEL)
    ask(tmp_path)
    targets.run(task=tmp_path / "own.yaml", natural=None, seed=1, out=tmp_path / "targets.parquet")
    (tmp_path / "file").touch()
    return tmp_path


def ask(folder, **changes):
    (folder / "own.yaml").write_text(yaml.safe_dump({"prompts": {"one": TASK | changes}}))


def reading(folder):
    return {
        "model_record": folder / "m.json",
        "tasks": [folder / "own.yaml"],
        "targets": [folder / "targets.parquet"],
        "seed": 1,
    }


def tuned(folder, checkpoint, out):
    tune.run(
        **reading(folder),
        tuning="t",
        prompts=[],
        start=None,
        settings=TUNING,
        checkpoint=folder / f"{checkpoint}.safetensors",
        checkpoint_seconds=0,
        out=out,
    )
    return (out / "adapter_model.safetensors").read_bytes()


def sampled(folder, checkpoint, out):
    sample.run(
        **reading(folder),
        tuning="t",
        adapter=None,
        held_out_text=None,
        settings=SAMPLING,
        checkpoint=folder / checkpoint,
        samples_out=out / "samples.parquet",
        exact_out=out / "exact.parquet",
        text_out=out / "text.parquet",
    )
    return (out / "samples.parquet").read_bytes()


def swept(folder, checkpoint, out):
    sweep.run(
        **reading(folder),
        tuning="base",
        adapter=None,
        prompts=["own/one"],
        temperatures=[2.0],
        draws=30,
        max_tokens={"own": 8},
        token_budget=2048,
        checkpoint=folder / checkpoint,
        out=out / "sweep.parquet",
    )
    return (out / "sweep.parquet").read_bytes()


@pytest.mark.parametrize("job", [tuned, sampled, swept])
def test_a_prompt_that_was_edited_in_between_is_asked_anew(folder, job):
    with pytest.raises(OSError, match="file"):
        job(folder, "checkpoint", folder / "file" / "out")  # done, but nowhere to be written
    ask(folder, text="Output a fruit, like this: {fruit}.")
    taken_up = job(folder, "checkpoint", folder / "taken-up")
    assert taken_up == job(folder, "other", folder / "fresh")


@pytest.mark.parametrize("job", [tuned, sampled, swept])
def test_the_same_job_takes_up_what_was_done(folder, job, monkeypatch):
    with pytest.raises(OSError, match="file"):
        job(folder, "checkpoint", folder / "file" / "out")
    whole = job(folder, "other", folder / "fresh")

    def never(*_, **__):
        raise AssertionError("done before")

    for name in ("sample", "sample_long"):
        monkeypatch.setattr(sample, name, never)
    monkeypatch.setattr(sweep, "sample_long", never)
    monkeypatch.setattr("diffuselm.tuning.loop.accumulate_gradient", one_step())
    assert job(folder, "checkpoint", folder / "taken-up") == whole


def one_step():
    """The last one: the last checkpoint is of the step before it."""
    from diffuselm.tuning.loop import accumulate_gradient

    taken = []

    def counted(*words, **options):
        assert not taken, "a second step"
        taken.append(1)
        return accumulate_gradient(*words, **options)

    return counted
