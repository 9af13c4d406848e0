"""Stage `sample` by a method: what is asked, drawn, scored, and what it cost."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.special import entr

from diffuselm.config.sample import AnswerSettings
from diffuselm.config.tune import LoraSettings
from diffuselm.methods.prompt_search import PromptSearch
from diffuselm.sampling.wordings import ROOM
from diffuselm.stages import sample
from diffuselm.stages.model_jobs import ModelJob
from diffuselm.stages.tune import tune
from diffuselm.tasks.target_sets import write_targets
from records import write_record

MODEL = Path(__file__).parents[2] / "resources/models/tiny-llama"
NUMBERS = {"text": "Output a number. Output it so: {number}.", "targets": [1, 2, 3, 4]}
DAYS = {"text": "Output a day. Output it so: {day}.", "targets": ["Monday", "Friday"]}


@pytest.fixture
def folder(tmp_path):
    write_record(tmp_path / "m.json", MODEL)
    task = tmp_path / "own.yaml"
    task.write_text(yaml.safe_dump({"prompts": {"numbers": NUMBERS, "days": DAYS}}))
    write_targets(task=task, seed=1, out=tmp_path / "targets.parquet")
    return tmp_path


def job(folder):
    return ModelJob(
        model=folder / "m.json",
        tuning="t",
        targets=[folder / "targets.parquet"],
        seed=1,
        checkpoint=folder / "checkpoint",
    )


def sampled(folder, draws=60, adapter=None, **entry):
    """Answers, exact probabilities and run.json of a method, or of none."""
    out = folder / "out"
    sample.sample(
        job=job(folder),
        adapter=adapter,
        method=json.dumps(entry) if entry else None,
        settings=AnswerSettings(draws={"own": draws}, max_tokens={"own": 12}),
        samples=out / "samples.parquet",
        exact=out / "exact.parquet",
        text=out / "text.parquet",
    )
    answers, exact = (pd.read_parquet(out / f"{kind}.parquet") for kind in ("samples", "exact"))
    return answers, exact, json.loads((out / "samples.run.json").read_text())


def test_run_json_says_which_targets_training_listed_where_not_all(folder):
    def listed(count):
        settings = LoraSettings(passes=1, token_budget=256)
        entry = json.dumps({"kind": "ours", "targets": count})
        tune(job=job(folder), method=entry, settings=settings, out=folder / f"adapter-{count}")
        return json.loads((folder / f"adapter-{count}/run.json").read_text()).get("listed")

    [(prompt, texts)] = listed(3).items()  # there are but two days
    assert prompt == "own/numbers"
    assert len({*texts} & {"1", "2", "3", "4"}) == 3
    assert listed(4) is None


def test_a_way_to_draw_is_scored_as_it_draws(folder):
    answers, exact, run = sampled(folder, draws=400, kind="min-p", p=0.3)
    assert run["settings"]["method"] == {"kind": "min-p", "p": 0.3}
    barred = exact[exact["probability"] == 0]
    assert len(barred)
    for row in exact.itertuples():
        own = answers[answers["prompt"] == row.prompt]
        share = (own["value"] == row.target).mean()
        assert share == pytest.approx(row.probability, abs=0.1)
        assert share == 0 or row.probability > 0


def test_a_way_to_ask_costs_every_call_s_prompt_and_reply(folder):
    _, _, plain = sampled(folder)
    answers, exact, run = sampled(folder, kind="seed-string", length=8)
    assert exact.empty
    assert answers.groupby("prompt").size().to_dict() == {"own/numbers": 60, "own/days": 60}
    for prompt, (read, written) in run["tokens"].items():
        assert read > plain["tokens"][prompt][0] + 60 * 4
        assert written >= 60 * 3


def test_every_call_reads_the_embedded_tokens_of_an_adapter(folder):
    _, _, plain = sampled(folder)
    settings, out = LoraSettings(passes=1, token_budget=256), folder / "adapter"
    entry = json.dumps({"kind": "prompt-tuning", "virtual_tokens": 3})
    tune(job=job(folder), method=entry, settings=settings, out=out)
    _, _, run = sampled(folder, adapter=out)
    for prompt, (read, _) in run["tokens"].items():
        assert read == plain["tokens"][prompt][0] + 60 * 3


def test_the_wording_that_its_half_of_the_targets_adds_most_entropy_to_is_asked(
    folder, monkeypatch
):
    other = {
        NUMBERS["text"]: "Say one of 1, 2, 3, 4. Output it so: {number}.",
        DAYS["text"]: "Monday or Friday? Output it so: {day}.",
    }
    monkeypatch.setattr(PromptSearch, "wordings", lambda _, text, __: [text, other[text]])
    _, exact, run = sampled(folder, kind="prompt-search", rewordings=2)
    for prompt, found in run["wordings"].items():
        assert found["of"] == 2
        halves = exact.loc[exact["prompt"] == prompt, "probability"].to_numpy()
        assert found["entropy"] == pytest.approx(entr(halves[::2]).sum(), rel=1e-5)
        assert found["entropy_other"] == pytest.approx(entr(halves[1::2]).sum(), rel=1e-5)
    for prompt, (read, written) in run["tokens"].items():
        # 60 calls of the best wording, two replies of the bare model, two trees.
        replies = run["wordings"][prompt]["tokens_written"]
        searched = run["wordings"][prompt]["tokens_read"]
        assert 0 < replies <= 2 * ROOM < searched
        assert (read - searched) % 60 == 0
        assert 60 <= written - replies <= 60 * 12
    monkeypatch.setattr(PromptSearch, "wordings", lambda _, text, __: [text])
    _, _, alone = sampled(folder, kind="prompt-search", rewordings=2)
    for prompt, found in run["wordings"].items():
        # The same replies, and one more wording scored.
        one = alone["wordings"][prompt]
        assert found["tokens_written"] == one["tokens_written"]
        assert 10 < found["tokens_read"] - one["tokens_read"] < 100
    gained = [
        run["wordings"][prompt]["entropy"] - alone["wordings"][prompt]["entropy"]
        for prompt in run["wordings"]
    ]
    assert np.min(gained) >= 0
    assert np.max(gained) > 0
