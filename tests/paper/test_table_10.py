"""Table 10, from metrics made by hand."""

import json
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import binomtest

from diffuselm.files.schemas import METRICS
from diffuselm.files.tables import write_rows
from diffuselm.paper.tables_10 import tables_10

TUNED_ON = ["stated/coin-10", "stated/coin-20", "stated/urn-1-2"]
PROMPTS = [*TUNED_ON, "stated/coin-30", "stated/zipf-3", "stated/zipf-4"]


def rows(model, tuning, seed=1, draws=1000, prompts=PROMPTS, **changed):
    """A prompt's metrics, by default alike for all prompts; those `changed` are by prompt."""
    usual = {"kl": 0.25, "tv": 0.125, "target_mass": 0.75, "chi_square_p": 0.5}
    usual["chi_square_on_target_p"] = 0.5
    for prompt in [*prompts, None]:
        for metric, value in usual.items():
            found = changed.get(metric, {}).get(prompt, value)
            ends = (0.0, 1.0) if metric.startswith("chi_") else (found, found)
            yield {"model": model, "tuning": tuning, "task": "stated", "prompt": prompt} | {
                "field": "value",
                "metric": metric,
                "value": found,
                "ci_low": ends[0],
                "ci_high": ends[1],
                "n": draws if metric.startswith("chi_") else 3,
                "seed": seed,
            }


def table(folder: Path, measured, models=("m",), baseline="base", tuned_on=TUNED_ON):
    """The tidy frame by group, family, model, condition and metric; and the Markdown."""
    write_rows(folder / "metrics.parquet", list(measured), METRICS)
    records = [folder / f"{model}.json" for model in models]
    for path in records:
        shown = {"model": path.stem, "stand_in": False, "paper_model": None, "baseline": baseline}
        path.write_text(json.dumps(shown))
    given = {"metrics": folder / "metrics.parquet", "records": records, "out": folder}
    tables_10(**given, tuned_on=tuned_on)
    frame = pd.read_csv(folder / "table-10.csv")
    by = ["group", "family", "model", "condition", "metric"]
    return frame.set_index(by).sort_index(), (folder / "table-10.md").read_text()


def test_prompts_are_grouped_by_whether_they_or_their_family_were_tuned_on(tmp_path):
    frame, _ = table(tmp_path, rows("m", "stated"))
    prompts = frame.reset_index().set_index(["group", "family"])["prompts"].to_dict()
    assert prompts == {
        ("Tuned on", "all"): 3,
        ("Tuned on", "coin"): 2,
        ("Tuned on", "urn"): 1,
        ("Unseen parameters", "all"): 1,
        ("Unseen parameters", "coin"): 1,
        ("Unseen families", "all"): 2,
        ("Unseen families", "zipf"): 2,
    }
    read = pd.read_csv(tmp_path / "table-10.csv")
    assert read["group"].unique().tolist() == ["Tuned on", "Unseen parameters", "Unseen families"]


def test_distances_are_means_over_prompts_and_have_no_interval(tmp_path):
    apart = {"stated/zipf-3": 0.75, "stated/zipf-4": 0.25}
    frame, text = table(tmp_path, rows("m", "stated", kl=apart))
    cell = frame.loc["Unseen families", "zipf", "m", "Tuned", "kl"]
    assert (cell["value"], cell["ci_low"], cell["ci_high"]) == (0.5, 0.5, 0.5)
    assert "| zipf | 2 | m | 0.500 | 0.125 | 0.750 |" in text
    assert frame.loc["Unseen parameters", "coin", "m", "Tuned", "kl"]["value"] == 0.25


def test_the_share_that_passes_is_of_tests_at_five_percent_over_prompts_and_seeds(tmp_path):
    first = {"stated/coin-10": 0.05, "stated/coin-20": 0.0499, "stated/urn-1-2": 0.0}
    measured = [*rows("m", "stated", chi_square_p=first), *rows("m", "stated", seed=2)]
    frame, text = table(tmp_path, measured)
    cell = frame.loc["Tuned on", "all", "m", "Tuned", "chi_square_p"]
    wilson = binomtest(4, 6).proportion_ci(0.95, method="wilson")
    expected = (4 / 6, wilson.low, wilson.high)
    assert tuple(cell[["value", "ci_low", "ci_high"]]) == pytest.approx(expected)
    assert (cell["n"], cell["seeds"]) == (6, 2)
    assert rf"0.67<br>\[{wilson.low:.2f}, {wilson.high:.2f}\] |" in text


def test_before_and_after_stand_side_by_side_for_each_model(tmp_path):
    measured = [
        row
        for model in ("m", "n")
        for tuning, kl in (("base", 9.0), ("held", 3.0), ("form", 2.0), ("stated", 0.5))
        for row in rows(model, tuning, kl=dict.fromkeys(PROMPTS, kl), draws=50 * (len(tuning) - 3))
    ]
    frame, text = table(tmp_path, measured, models=("m", "n"), baseline="form")
    of_all = frame.xs("kl", level="metric").loc["Tuned on", "all"]["value"]
    expected = {"Base held to the form": 3.0, "Baseline": 2.0, "Tuned": 0.5}
    assert of_all["m"].to_dict() == of_all["n"].to_dict() == expected
    assert "Baseline: form taught" in text
    assert "A test is of 150 answers to a prompt" in text  # of the tuned model
    heads = text.split("\n")[2]
    assert heads.index("KL divergence") < heads.index("Total variation") < heads.index("Share")


def test_what_was_not_measured_is_a_dash_or_has_no_column(tmp_path):
    some = [row for row in rows("m", "stated") if row["prompt"] != "stated/zipf-3"]
    frame, text = table(tmp_path, [*rows("m", "base"), *some])
    assert "held" not in text
    line = next(line for line in text.splitlines() if "| zipf |" in line)
    assert line.split("|")[5:8] == [" 0.250 ", " — ", " 0.125 "]
    assert frame.loc["Unseen families", "zipf", "m", "Tuned", "kl"]["value"] != 0


def test_the_bar_stands_below_the_table(tmp_path):
    _, text = table(tmp_path, rows("m", "stated"))
    assert "of eleven large models" in text
    assert "ten passed for none (arXiv 2601.05414)" in text
