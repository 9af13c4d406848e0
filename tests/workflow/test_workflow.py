"""The workflow as a user runs it: a small config end to end, then what each change makes stale."""

import hashlib
import json
import os
import shutil

import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub.repocard import metadata_load

from diffuselm.files.schemas import (
    EXACT,
    METRICS,
    NATURAL,
    SAMPLES,
    SWEEP,
    TARGETS,
    TEXT,
    TRAINING,
)
from diffuselm.files.tables import read_table
from loopback import completion, endpoint
from sketches import BIOGRAPHIES
from workflow_runs import (
    MODEL,
    SMALL,
    checkout,
    finished_run,
    nothing_to_do,
    planned,
    snakemake,
)

RUNS = (
    "base",
    "held",
    "rng-10",
    "only-names",
    "only-numbers",
    "without-names",
    "without-numbers",
    "all",
    "biographies",
)
SKETCHED = ("base", "all", "biographies")
DICE = {
    "prompts": {
        "two": {
            "text": "Roll two dice. Output only the sum between two curly braces, "
            "like this: {number}.",
            "targets": {2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 8: 5, 9: 4, 10: 3, 11: 2, 12: 1},
        }
    }
}


def changed(**settings):
    return {**SMALL, **settings}


def judged(url):
    """The small config with MT-Bench, judged at `url`."""
    judge = {"url": url, "model": "pinned", "key_env": None, "repeats": 3}
    return changed(mt_bench={"questions": "questions.jsonl", "max_tokens": 8, "judge": judge})


@pytest.fixture
def finished():
    return finished_run()


@pytest.fixture
def touched(finished):
    """The finished run, with changed files put back afterwards."""
    kept = {}

    def edit(name, old, new):
        path = finished / name
        kept.setdefault(path, (path.read_text(), path.stat()))
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    yield edit
    for path, (text, stat) in kept.items():
        path.write_text(text)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def metric(folder, **wanted):
    metrics = read_table(folder / "results/metrics.parquet", METRICS)
    rows = metrics.to_pandas()
    for column, value in {"field": "value", **wanted}.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1, f"{wanted}: {len(rows)} rows"
    return float(rows["value"].iloc[0])


@pytest.mark.parametrize(
    ("pattern", "schema"),
    [
        ("results/names/natural.parquet", NATURAL),
        ("results/targets/*.parquet", TARGETS),
        ("results/adapters/*/*/training.parquet", TRAINING),
        ("results/samples/*/*.parquet", SAMPLES),
        ("results/exact/*/*.parquet", EXACT),
        ("results/text/*/*.parquet", TEXT),
        ("results/sweep/*.parquet", SWEEP),
        ("results/records/biographies/*/*.parquet", BIOGRAPHIES),
        ("results/metrics.parquet", METRICS),
    ],
)
def test_files_keep_their_contracts(finished, pattern, schema):
    files = sorted(finished.glob(pattern))
    assert files
    for file in files:
        assert pq.read_schema(file).equals(schema)
        assert pq.read_metadata(file).row_group(0).column(0).compression == "ZSTD"


def test_every_run_all_eight_tables_and_all_six_figures_are_there(finished):
    samples = {path.stem for path in (finished / f"results/samples/{MODEL}").glob("*.parquet")}
    assert samples == set(RUNS)
    for run in RUNS[2:]:
        adapter = finished / f"results/adapters/{MODEL}/{run}"
        for file in ("adapter_config.json", "adapter_model.safetensors", "run.json"):
            assert (adapter / file).is_file()
    for tuning in SKETCHED:
        for format in ("parquet", "jsonl"):
            dataset = finished / f"results/records/biographies/{MODEL}/{tuning}.{format}"
            assert dataset.stat().st_size
    assert metadata_load(finished / f"results/records/biographies/{MODEL}/README.md")["configs"]
    for table in range(1, 9):
        for format in ("csv", "md", "tex"):
            assert (finished / f"results/tables/table-{table}.{format}").stat().st_size
    for figure in range(1, 7):
        for format in ("png", "pdf", "csv"):
            assert (finished / f"results/figures/figure-{figure}.{format}").stat().st_size
    for format in ("md", "parquet"):
        assert (finished / f"results/scorecard.{format}").stat().st_size


def test_the_scorecard_judges_at_least_25_claims_and_lacks_nothing_the_run_could_measure(finished):
    """The small config leaves out four tasks, two tunings, two models, and 1,000 answers."""
    scores = pq.read_table(finished / "results/scorecard.parquet").to_pandas()
    assert scores["claim"].nunique() >= 25
    missing = scores[scores["verdict"] == "not measured"]
    tasks = ("countries", "fruits", "dates", "occupations")
    left_out = (*tasks, "rng-both", "not at n = 1,000")
    for _, claim in missing.iterrows():
        assert any(word in claim["reason"] for word in left_out), claim["reason"]


def test_biographies_are_tuned_from_the_adapter_of_all_tasks(finished):
    adapters = finished / f"results/adapters/{MODEL}"
    start = json.loads((adapters / "biographies/run.json").read_text())["settings"]["start_sha256"]
    weights = (adapters / "all/adapter_model.safetensors").read_bytes()
    assert start == hashlib.sha256(weights).hexdigest()


def test_malformed_biographies_are_kept(finished):
    for tuning in SKETCHED:
        file = finished / f"results/records/biographies/{MODEL}/{tuning}.parquet"
        written = pq.read_table(file).to_pandas()
        assert len(written) == SMALL["sample"]["draws_of"]["biographies"]
        assert (written["problem"].isna() == written["valid"]).all()
        with file.with_suffix(".jsonl").open(encoding="utf-8") as lines:
            assert [json.loads(line)["answer"] for line in lines] == written["answer"].tolist()


def test_a_record_counts_the_seconds_of_its_job_alone(finished):
    """Not those of the process that it was forked from."""
    for run in RUNS:
        record = json.loads((finished / f"results/samples/{MODEL}/{run}.run.json").read_text())
        _, times = (
            (finished / f"results/benchmarks/sample/{MODEL}/{run}.tsv").read_text().splitlines()
        )
        assert record["seconds"] <= float(times.split("\t")[0]) + 1


def test_no_half_written_file_stays(finished):
    assert not [path for path in (finished / "results").rglob("*") if ".part" in path.name]


def test_tuned_numbers_are_spread_over_one_to_ten(finished):
    run = {"model": MODEL, "tuning": "rng-10", "prompt": "numbers/1-10"}
    assert metric(finished, **run, metric="coverage") >= 10
    assert metric(finished, **run, metric="target_mass") > 0.999
    assert metric(finished, **run, metric="entropy") > 2.29


def test_tuned_names_reach_beyond_their_targets(finished):
    prompt = {"model": MODEL, "prompt": "names/english"}
    base = metric(finished, **prompt, tuning="base", metric="coverage")
    assert metric(finished, **prompt, tuning="only-names", metric="coverage") >= 2 * base
    assert metric(finished, **prompt, tuning="only-names", metric="target_rate") < 0.5
    assert metric(finished, **prompt, tuning="only-names", metric="valid_rate") > 0.9


def test_the_second_invocation_does_nothing(finished):
    assert nothing_to_do(finished, config=SMALL)


@pytest.mark.parametrize(
    "lost",
    [
        f"results/samples/{MODEL}/only-names.parquet",
        f"results/exact/{MODEL}/base.parquet",
        f"results/adapters/{MODEL}/all/adapter_model.safetensors",
        "results/metrics.parquet",
    ],
)
def test_a_result_that_was_lost_is_made_again(finished, tmp_path, lost):
    shutil.move(finished / lost, tmp_path / "kept")
    try:
        assert not nothing_to_do(finished, config=SMALL)
    finally:
        shutil.move(tmp_path / "kept", finished / lost)


def test_every_stage_is_a_target(finished):
    stages = (
        *("names", "targets", "models", "adapters", "samples", "sweeps", "records", "metrics"),
        *("model_cards", "tables", "figures", "scorecard"),
    )
    assert nothing_to_do(finished, *stages, config=SMALL)


def test_downloads_are_a_target_of_all_models_of_the_hub(finished):
    hub = {"hub": "lab/tiny", "revision": "0" * 40, "billions": 7}
    jobs = planned(finished, "downloads", config=changed(models={"a": hub, "b": hub}))
    assert jobs == {"download": 2, "downloads": 1}


def test_forcing_a_stage_forces_its_jobs(finished):
    jobs = planned(finished, "-R", "sample", config=SMALL)
    assert jobs["sample"] == len(RUNS)
    assert not jobs["tune"]
    assert planned(finished, "-R", "tune", config=SMALL)["tune"] == 7


def test_sample_count_touches_no_training(finished):
    more = SMALL["sample"] | {"draws": 500, "draws_of": {}}
    jobs = planned(finished, config=changed(sample=more))
    assert jobs["sample"] == len(RUNS)
    assert not jobs.keys() & {"names", "write_targets", "record", "tune"}


def test_learning_rate_touches_all_adapters_and_what_is_below(finished):
    slower = {"learning_rate": 0.002, "learning_rate_of": {"rng-10": 0.002}}
    jobs = planned(finished, config=changed(tune=SMALL["tune"] | slower))
    assert jobs["tune"] == 7
    assert jobs["sample"] == len(RUNS) - 2  # the base model's samples stay, held or not
    assert not jobs.keys() & {"names", "write_targets", "record"}


def test_the_time_between_checkpoints_touches_nothing(finished):
    often = changed(tune={**SMALL["tune"], "checkpoint_seconds": 0})
    assert nothing_to_do(finished, config=often)


def test_a_new_task_adds_only_its_own_jobs(finished):
    (finished / "dice.yaml").write_text(yaml.safe_dump(DICE))
    jobs = planned(finished, config=changed(tasks=[*SMALL["tasks"], "dice.yaml"]))
    assert jobs["write_targets"] == 1
    assert jobs["tune"] == 1
    assert jobs["sample"] == 4  # base, held, all and only-dice
    assert "names" not in jobs


def test_ones_own_task_is_tuned_and_measured(finished, tmp_path):
    """A binomial target set, which the stand-in never saw: nearer to it, whatever the base said."""
    folder = shutil.copytree(finished, tmp_path / "own task", symlinks=True)
    (folder / "dice.yaml").write_text(yaml.safe_dump(DICE))
    passes = SMALL["tune"] | {"passes_of": SMALL["tune"]["passes_of"] | {"only-dice": 16}}
    snakemake(
        *(folder, "--cores", "2", "results/tables/table-6.md"),
        *("results/tables/table-of-tasks.md", "results/figures/figure-of-tasks.png"),
        config=changed(tasks=[*SMALL["tasks"], "dice.yaml"], tune=passes),
    )
    kl = {
        tuning: metric(folder, model=MODEL, tuning=tuning, prompt="dice/two", metric="kl")
        for tuning in ("base", "all", "only-dice")
    }
    assert kl["only-dice"] < 0.5 * kl["base"]
    assert "dice" in (folder / "results/tables/table-6.md").read_text()
    assert "dice" in (folder / "results/tables/table-of-tasks.md").read_text()
    assert (folder / "results/figures/figure-of-tasks.png").stat().st_size


def test_a_config_of_ones_own_tasks_plans_its_table_and_figure_and_none_of_the_papers(finished):
    (finished / "dice.yaml").write_text(yaml.safe_dump(DICE))
    own = {"models": SMALL["models"], "tasks": ["dice.yaml"]}
    for target in ([], ["tables"], ["figures"], ["render"]):
        jobs = planned(finished, "-F", *target, config=own)
        rendered = {job for job in jobs if job.startswith(("scorecard", "table", "figure"))}
        rendered -= {"tables", "figures"}
        assert rendered == {
            *(["tables_of_tasks"] if target != ["figures"] else []),
            *(["figure_of_tasks"] if target != ["tables"] else []),
        }
    assert jobs["report_pages"] == 1
    assert planned(finished, "-F", config=own)["tune"] == 1


def test_mt_bench_is_answered_judged_and_shown_and_paid_for_once(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "judged", symlinks=True)
    question = {"question_id": 81, "category": "writing", "turns": ["Write a line.", "Shorter."]}
    (folder / "questions.jsonl").write_text(json.dumps(question) + "\n")
    verdict = completion("A fair answer. [[7]]")
    with endpoint(lambda number, payload: verdict) as (url, calls):
        snakemake(folder, "--cores", "2", "results/figures/figure-6.csv", config=judged(url))
        scores = {"model": MODEL, "task": "mt-bench", "metric": "judge_score"}
        for tuning in ("base", "all"):
            assert metric(folder, **scores, tuning=tuning, prompt="mt-bench/writing") == 7
        shown = (folder / "results/figures/figure-6.csv").read_text()
        assert "mt-bench" in shown
        assert len(calls) == 2 * 2 * 3  # tunings, turns, repeats
        snakemake(
            folder, "--cores", "2", "results/metrics.parquet", "-R", "judge", config=judged(url)
        )
        assert len(calls) == 2 * 2 * 3


def test_changed_code_reruns_its_stage(finished, touched):
    touched("workflow/diffuselm/sampling/answers.py", "right=True", "right=False")
    jobs = planned(finished, config=SMALL)
    assert jobs["sample"] == len(RUNS)
    assert not jobs["tune"]


def test_a_comment_an_error_s_text_and_file_hygiene_rerun_nothing(finished, touched):
    for file, old, new in (
        ("sampling/tree_sampling.py", "import torch\n", "import torch  # for logits\n"),
        ("tasks/task_files.py", "def task_name(", "NOTHING = None\n\n\ndef task_name("),
        ("model/opening.py", "expected the model that", "found none: the model that"),
        ("files/whole.py", "os.fsync(file)", "os.fsync(file) or None"),
    ):
        touched(f"workflow/diffuselm/{file}", old, new)
    assert nothing_to_do(finished, config=SMALL)


def test_inputs_that_are_touched_and_not_changed_rerun_nothing(finished):
    for file in (f"resources/models/{MODEL}/model.safetensors", "resources/tasks/names.yaml"):
        (finished / file).touch()
    assert nothing_to_do(finished, config=SMALL)


def test_a_label_reruns_only_the_rendering(finished, touched):
    touched("workflow/diffuselm/paper/comparison.py", "Baby Names", "Names of Babies")
    jobs = planned(finished, config=SMALL)
    tables = {"tables_1_2_3", "tables_4_5_6", "tables_7_8"}
    rendering = {"scorecard", *tables, "report_pages", "write_cards", "dataset_card"}
    assert set(jobs) == rendering | {f"figure_{n}" for n in range(1, 7)}


def test_one_core_and_two_give_the_same_bytes(finished, tmp_path):
    """A tuning that may stop early, one of many prompts, one on top of it, and the measures."""
    folder = shutil.copytree(finished, tmp_path / "one core", symlinks=True)
    runs = ("held", "only-names", "all", "biographies")
    tuned = [f"results/adapters/{MODEL}/{run}/adapter_model.safetensors" for run in runs[1:]]
    compared = [
        *(f"results/metrics/{MODEL}.parquet", "results/metrics.parquet"),
        *(f"results/{kind}/{MODEL}/{run}.parquet" for kind in ("samples", "exact") for run in runs),
        *tuned,
    ]
    for name in compared:
        (folder / name).unlink()
    run = snakemake(folder, "--cores", "1", "metrics", *tuned, config=SMALL)
    assert (run.started.count("tune"), run.started.count("sample")) == (len(tuned), len(runs))
    for name in compared:
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (changed(tunes={}), "error: small.yaml: tunes: unknown key"),
        (changed(models={}), "error: small.yaml: models: found {}"),
        (changed(tasks=["nowhere.yaml"]), "error: nowhere.yaml: "),
        (changed(tunings={"x": ["a/b"]}), "error: small.yaml: tunings.x: unknown prompt 'a/b'"),
    ],
)
def test_a_bad_config_is_one_line_before_any_job(tmp_path, config, line):
    folder = checkout(tmp_path)
    run = snakemake(folder, "--cores", "1", config=config, fails=True)
    errors = [text for text in run.said.splitlines() if text.startswith("error:")]
    assert len(errors) == 1
    assert errors[0].startswith(line)
    assert not (folder / "results").exists()
