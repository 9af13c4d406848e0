"""A model that does not keep the asked form, through the workflow: what it is compared with."""

import pandas as pd
import pytest

from workflow_runs import CONFIG, MODEL, checkout, planned, snakemake

TAUGHT = {
    **CONFIG,
    "baseline": "form",
    "tune": {**CONFIG["tune"], "passes_of": {"form": 1}},
    "sample": {"draws": 60, "check_draws": 20},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = checkout(tmp_path_factory.mktemp("taught"))
    snakemake(folder, "--cores", "2", config=TAUGHT)
    return folder / "results"


def test_tables_and_figures_compare_with_the_model_that_was_taught_the_form(results):
    for file in ("tables/table-4.csv", "tables/table-5.csv", "tables/table-6.csv"):
        table = pd.read_csv(results / file)
        baseline = table[table["column"].isin(["Baseline", "Form taught"])]
        assert set(baseline["tuning"]) == {"form"}
        assert baseline["value"].notna().all()
    assert set(pd.read_csv(results / "figures/figure-1.csv")["tuning"]) >= {"form", "only-names"}
    shown = pd.read_csv(results / "figures/figure-3.csv")
    assert set(shown.loc[shown["condition"] == "base", "tuning"]) == {"form"}


def test_the_raw_base_stands_beside_it_with_its_rates_alone(results):
    table = pd.read_csv(results / "tables/table-6.csv")
    raw = table[table["column"] == "Base as it is"]
    assert raw["value"].isna().all()
    assert raw["valid"].notna().all()
    samples = pd.read_parquet(results / f"samples/{MODEL}/base.parquet")
    assert set(samples.groupby("prompt").size()) == {20}


def test_held_answers_are_valid_wherever_they_end(results):
    samples = pd.read_parquet(results / f"samples/{MODEL}/held.parquet")
    assert set(samples.groupby("prompt").size()) == {60}
    assert (samples["valid"] | samples["truncated"]).all()
    assert samples["valid"].mean() > 0.9


def test_claims_of_the_model_before_tuning_are_judged_on_it_and_marked(results):
    scores = pd.read_parquet(results / "scorecard.parquet").set_index("claim")
    rises = scores.loc["names-entropy-rises"]
    assert rises["verdict"] in ("holds", "fails", "undecided at this n")
    assert "form taught" in (results / "scorecard.md").read_text()
    metrics = pd.read_parquet(results / "metrics.parquet")
    of_prompt = metrics[(metrics["prompt"] == "names/english") & (metrics["metric"] == "entropy")]
    value = of_prompt.set_index("tuning")["value"]
    assert rises["ours"] == pytest.approx(value["only-names"] - value["form"])


def test_model_cards_compare_with_it_and_it_has_one_too(results):
    adapters = results / f"adapters/{MODEL}"
    assert "taught the asked form" in (adapters / "only-names/README.md").read_text()
    assert (adapters / "form/README.md").is_file()


def test_the_form_s_own_card_compares_exact_numbers_with_the_raw_base(results):
    card = (results / f"adapters/{MODEL}/form/README.md").read_text()
    metrics = pd.read_parquet(results / "metrics.parquet")
    mass = metrics[
        (metrics["metric"] == "target_mass")
        & (metrics["task"] == "numbers")
        & metrics["prompt"].isna()
    ].set_index("tuning")["value"]
    [row] = [line for line in card.splitlines() if line.startswith("| numbers | no | target mass")]
    assert f"| {mass['base']:.3f} | {mass['form']:.3f} |" in row
    [row] = [line for line in card.splitlines() if line.startswith("| numbers | no | entropy")]
    assert "| — |" in row


def test_how_a_model_is_shown_touches_no_job_that_uses_it(results):
    folder = results.parent
    untaught = {**TAUGHT, "baseline": "base", "tune": CONFIG["tune"]}
    jobs = planned(folder, config=untaught)
    assert "show" in jobs
    assert not jobs.keys() & {"record", "tune"}
