"""What an interrupted job has done is taken up by the same job alone: not by one that asks else."""

from pathlib import Path

import pytest
import yaml

from diffuselm.config.sample import AnswerSettings
from diffuselm.config.tune import LoraSettings
from diffuselm.sampling import asking
from diffuselm.stages import sample, tune
from diffuselm.stages.model_jobs import ModelJob
from diffuselm.tasks.target_sets import write_targets
from records import write_record

MODEL = Path(__file__).parents[2] / "resources/models/tiny-llama"
TASK = {"text": "Output a number, like this: {number}.", "targets": [1, 2, 3]}
TUNING = LoraSettings(
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
SAMPLING = AnswerSettings(
    draws={"own": 30}, max_tokens={"own": 8}, held=False, token_budget=2048, pass_budget=2048
)


@pytest.fixture
def folder(tmp_path):
    write_record(tmp_path / "m.json", MODEL)
    ask(tmp_path)
    (tmp_path / "file").touch()
    return tmp_path


def ask(folder, **changes):
    (folder / "own.yaml").write_text(yaml.safe_dump({"prompts": {"one": TASK | changes}}))
    out = folder / "targets.parquet"
    write_targets(task=folder / "own.yaml", natural=None, seed=1, out=out)


def job(folder, checkpoint, **words):
    return ModelJob(
        model=folder / "m.json",
        tuning="t",
        targets=[folder / "targets.parquet"],
        seed=1,
        checkpoint=folder / checkpoint,
        **words,
    )


def tuned(folder, checkpoint, out):
    tune.tune(
        job=job(folder, f"{checkpoint}.safetensors"),
        start=None,
        settings=TUNING,
        checkpoint_seconds=0,
        out=out,
    )
    return (out / "adapter_model.safetensors").read_bytes()


def sampled(folder, checkpoint, out):
    sample.sample(
        job=job(folder, checkpoint),
        settings=SAMPLING,
        samples=out / "samples.parquet",
        exact=out / "exact.parquet",
        text=out / "text.parquet",
    )
    return (out / "samples.parquet").read_bytes()


def swept(folder, checkpoint, out):
    sample.sweep(
        job=job(folder, checkpoint, prompts=["own/one"]),
        temperatures=[2.0],
        settings=SAMPLING,
        out=out / "sweep.parquet",
    )
    return (out / "sweep.parquet").read_bytes()


@pytest.mark.parametrize("done", [tuned, sampled, swept])
def test_a_prompt_that_was_edited_in_between_is_asked_anew(folder, done):
    with pytest.raises(OSError, match="file"):
        done(folder, "checkpoint", folder / "file" / "out")  # done, but nowhere to be written
    ask(folder, text="Output a fruit, like this: {fruit}.")
    taken_up = done(folder, "checkpoint", folder / "taken-up")
    assert taken_up == done(folder, "other", folder / "fresh")


@pytest.mark.parametrize("done", [tuned, sampled, swept])
def test_the_same_job_takes_up_what_was_done(folder, done, monkeypatch):
    with pytest.raises(OSError, match="file"):
        done(folder, "checkpoint", folder / "file" / "out")
    whole = done(folder, "other", folder / "fresh")

    def never(*_, **__):
        raise AssertionError("done before")

    monkeypatch.setattr(asking, "choose_sampler", lambda *_: never)
    monkeypatch.setattr("diffuselm.tuning.loop.gradient", one_step())
    assert done(folder, "checkpoint", folder / "taken-up") == whole


def one_step():
    """The last one: the last checkpoint is of the step before it."""
    from diffuselm.tuning.loop import gradient

    taken = []

    def counted(*words, **options):
        assert not taken, "a second step"
        taken.append(1)
        return gradient(*words, **options)

    return counted
