"""Every metric of a small run, recomputed in plain Python from the answers that the run wrote.

Nothing here calls what parses or measures: answers are read and numbers computed a second time.
Intervals of coverage and entropy follow no closed formula; tests/measure/test_intervals.py
is about them.
"""

import json
import math
import statistics
import unicodedata
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from faker.providers.person.en_US import Provider
from safetensors.torch import load_file
from scipy.stats import chi2
from scipy.stats import t as student

from diffuselm.config.names import NamesSettings
from diffuselm.config.ranges import RangesSettings
from diffuselm.config.sample import AnswerSettings
from diffuselm.config.tune import LoraSettings
from diffuselm.files.seeds import derive
from diffuselm.measure.metrics import UP_TO_ONE, up_to_one
from diffuselm.measure.model_metrics import measure_model
from diffuselm.measure.mt_bench_answers import answer_questions
from diffuselm.measure.natural import gather_metrics
from diffuselm.measure.verdicts import judge_answers
from diffuselm.stages.model_jobs import ModelJob
from diffuselm.stages.sample import sample, sweep
from diffuselm.stages.tune import tune
from diffuselm.tasks.natural_names import write_natural
from diffuselm.tasks.number_ranges import write_ranges
from diffuselm.tasks.target_sets import write_targets
from loopback import completion, endpoint
from records import write_record

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "resources/models/tiny-llama"
SEED, DRAWS = 1, 60
TASKS = {
    "base": ["names", "numbers", "ranges", "knowledge", "biographies"],
    "all": ["names", "numbers", "knowledge", "biographies"],
}
PROMPTS = {  # of the shipped tasks
    "names": ["english"],
    "numbers": ["1-10", "primes-1-50"],
    "knowledge": ["capital-france", "capital-germany"],
    "biographies": ["sketch"],
}
close = {"rel": 1e-12, "abs": 1e-12}
SWEPT, TEMPERATURES = ["names/english", "numbers/1-10"], [1.5, 2.0]
CATEGORIES = {1: "math", 2: "math", 3: "stem"}  # of the questions of MT-Bench
LORA = {"rank": 4, "alpha": 8, "dropout": 0.0, "target_modules": ("q_proj", "down_proj")}
ADAM = {"learning_rate": 0.003, "eps": 1e-5, "max_grad_norm": 1.0}
SETTINGS = LoraSettings(**LORA, **ADAM, passes=2, stop_ratio=None, token_budget=2048)
LONGEST = {"biographies": 160}  # tokens of an answer; 24 of others


def verdict(number, call):
    """A judge that grades by the letters that it reads, at times with no grade or one too high."""
    letters = crc32(call["payload"]["messages"][0]["content"].encode())
    return completion(f"Well put. [[{letters % 11 + number % 2}]]" if letters % 7 else "No grade.")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run through every stage up to the metrics: one model, before and after tuning."""
    folder = tmp_path_factory.mktemp("run")
    asked(folder)
    tune(
        job=job(folder, ["names", "numbers"], "all.safetensors"),
        settings=SETTINGS,
        out=folder / "adapters/tiny/all",
    )
    for tuning in TASKS:
        answered(folder, tuning)
        judged(folder, tuning)
    sweep(
        job=job(folder, ["names", "numbers"], "sweep", prompts=SWEPT),
        settings=AnswerSettings(
            draws=dict.fromkeys(("names", "numbers"), DRAWS),
            max_tokens=dict.fromkeys(("names", "numbers"), 24),
            held=False,
            token_budget=16384,
            pass_budget=2048,
        ),
        temperatures=TEMPERATURES,
        out=folder / "sweep/tiny.parquet",
    )
    measured(folder)
    return folder


def asked(folder):
    """The model's record, the natural names, the tasks, their targets, and the questions."""
    write_record(folder / "tiny.json", MODEL, name="tiny", stand_in=True)
    natural = folder / "natural.parquet"
    # Of the stand-in's favourite names one alone is born: the others have no ratio.
    lines = [
        f"{name},F,{births}\n"
        for births, name in enumerate(["Margy", *Provider.first_names], start=5)
    ]
    (folder / "yob2022.txt").write_text("".join(lines))
    births = NamesSettings(source="file", year=2022, file=folder / "yob2022.txt")
    write_natural(names=births, archive=folder / "names.zip", out=natural)
    (folder / "tasks").mkdir()
    for task, slugs in PROMPTS.items():
        shipped = yaml.safe_load((ROOT / f"resources/tasks/{task}.yaml").read_text())
        few = shipped | {"prompts": {slug: shipped["prompts"][slug] for slug in slugs}}
        (folder / f"tasks/{task}.yaml").write_text(yaml.safe_dump(few, sort_keys=False))
    few = RangesSettings(highs=[10], sizes=[5], versions=2)
    write_ranges(ranges=few, seed=SEED, out=folder / "tasks/ranges.yaml")
    for task in TASKS["base"]:
        out = folder / f"targets/{task}.parquet"
        write_targets(task=folder / f"tasks/{task}.yaml", natural=natural, seed=SEED, out=out)
    questions = [
        {"question_id": number, "category": category, "turns": [f"Why {number}?", "And then?"]}
        for number, category in CATEGORIES.items()
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))


def job(folder, tasks, name, **words):
    return ModelJob(
        model=folder / "tiny.json",
        tuning=name.partition(".")[0],
        targets=[folder / f"targets/{task}.parquet" for task in tasks],
        seed=SEED,
        checkpoint=folder / "checkpoints" / name,
        **words,
    )


def answered(folder, tuning):
    """Answers to prompts, the probabilities of their targets, text's loss, and biographies."""
    answers = folder / f"samples/tiny/{tuning}.parquet"
    sample(
        job=job(folder, TASKS[tuning], tuning),
        adapter=None if tuning == "base" else folder / f"adapters/tiny/{tuning}",
        held_out_text=ROOT / "resources/text/held-out.txt",
        settings=AnswerSettings(
            draws=dict.fromkeys(TASKS[tuning], DRAWS),
            max_tokens={task: LONGEST.get(task, 24) for task in TASKS[tuning]},
            held=False,
            token_budget=16384,
            pass_budget=2048,
        ),
        samples=answers,
        exact=folder / f"exact/tiny/{tuning}.parquet",
        text=folder / f"text/tiny/{tuning}.parquet",
    )


def judged(folder, tuning):
    """Answers to the questions, and verdicts on them."""
    questions, answers = folder / "questions.jsonl", folder / f"answers/tiny/{tuning}.parquet"
    answer_questions(
        seed=SEED,
        model=folder / "tiny.json",
        tuning=tuning,
        adapter=None if tuning == "base" else folder / f"adapters/tiny/{tuning}",
        questions=questions,
        max_tokens=8,
        out=answers,
    )
    with endpoint(verdict) as (url, _):
        judge_answers(
            questions=questions,
            answers=answers,
            url=url,
            model="by-letters",
            repeats=2,
            cache=folder / "cache",
            seed=SEED,
            verdicts=folder / f"verdicts/tiny/{tuning}.parquet",
            metrics=folder / f"mt-bench/tiny/{tuning}.parquet",
        )


def measured(folder):
    def both(kind):
        return [folder / f"{kind}/tiny/{tuning}.parquet" for tuning in TASKS]

    target_sets = job(folder, TASKS["base"], "base").targets
    known = {"targets": target_sets, "natural": folder / "natural.parquet", "seed": SEED}
    measure_model(
        **known,
        samples=both("samples"),
        exact=both("exact"),
        text=both("text"),
        adapters=[folder / "adapters/tiny/all/run.json"],
        sweep=[folder / "sweep/tiny.parquet"],
        baseline="base",
        out=folder / "part.parquet",
    )
    gather_metrics(
        **known,
        measured=[folder / "part.parquet", *both("mt-bench")],
        draws=DRAWS,
        out=folder / "metrics.parquet",
    )


# An answer, read a second time. Each number below comes with its n and its interval: (value, n,
# (low, high)), or None for an interval that is not recomputed.

Z = statistics.NormalDist().inv_cdf(0.975)
ATTRIBUTES = ("first_name", "last_name", "gender", "birth_year", "birth_place", "profession")
SHARES = {"Female": "female_share", "Male": "male_share", "Non-binary": "non_binary_share"}
GENDERS = {gender.lower(): gender for gender in SHARES}
GENDERS |= {"nonbinary": "Non-binary", "non binary": "Non-binary"}
DATES = ("%B %d, %Y", "%d %B %Y", "%Y-%m-%d", "%B %Y", "%Y")


@dataclass(frozen=True)
class Answer:
    outcome: str  # the value, or the text where there is none
    value: str | None
    valid: bool
    log_prob: float


def braced(text):
    """What stands in each innermost pair of braces, and all else."""
    inside, outside, opened = [], "", None
    for at, character in enumerate(text):
        if character == "{":
            outside += "" if opened is None else text[opened:at]
            opened = at
        elif character == "}" and opened is not None:
            inside.append(text[opened + 1 : at])
            opened = None
        elif opened is None:
            outside += character
    return inside, outside + ("" if opened is None else text[opened:])


def read_answer(row, fields):
    inside, outside = braced(row["text"])
    full = [field for field in inside if field.strip()]
    valid = not row["truncated"] and not outside.strip() and len(full) == len(inside) == fields
    value = inside[0].strip() or None if inside else None
    return Answer(value or row["text"], value, valid, row["logprob"])


def read_biography(row):
    """The attributes and the prose of a biography; None for one that is not valid.

    Titles before names and quotes around fields, which a stand-in never writes, are not looked for.
    """
    text = unicodedata.normalize("NFC", row["text"])
    if not read_answer(row, 6).valid:
        return None
    name, gender, born, place, job, deed = (" ".join(field.split()) for field in braced(text)[0])
    first, *others = (word.rstrip(",") for word in name.split())
    parts = [part.strip() for part in place.split(",")]
    year, gender = birth_year(born), GENDERS.get(gender.lower())
    lettered = all(any(map(str.isalpha, word)) for word in [first, *others, *parts])
    filled = all(any(map(str.isalnum, field)) for field in (job, deed))
    if not (others and len(parts) > 1 and year and gender and lettered and filled):
        return None
    start = max((at + 1 for at, word in enumerate(others[:-1]) if not word.islower()), default=0)
    values = first, " ".join(others[start:]), gender, year, ", ".join(parts), job
    return dict(zip(ATTRIBUTES, values, strict=True)) | {"accomplishment": deed, "biography": text}


def birth_year(born):
    for form in DATES:
        with suppress(ValueError):
            if 1000 <= (year := datetime.strptime(born, form).year) <= 2100:
                return year
    return None


def words(text):
    """Letters and digits, with ' or - inside a word."""
    text = text.lower().replace("’", "'")
    text = "".join(c if c.isalnum() or c in "'-" else " " for c in text)
    return [word.strip("'-") for word in text.split() if word.strip("'-")]


# Metrics, by name.


def rate(hits, n):
    """A share and Wilson's interval (1927)."""
    share = hits / n
    middle, half = share + Z**2 / (2 * n), Z * math.sqrt(share * (1 - share) / n + (Z / 2 / n) ** 2)
    return share, n, ((middle - half) / (1 + Z**2 / n), (middle + half) / (1 + Z**2 / n))


def mean(values, least=0.0, most=math.inf):
    """A mean and Student's interval, cut at what the mean can be."""
    n, middle, half = len(values), math.fsum(values) / len(values), math.inf
    if n > 1:
        half = student.ppf(0.975, n - 1) * statistics.stdev(values) / math.sqrt(n)
    return middle, n, (max(middle - half, least), min(middle + half, most))


def certain(value, n):
    return value, n, (value, value)


def entropy(drawn):
    shares = [count / len(drawn) for count in Counter(drawn).values()]
    return -sum(share * math.log(share) for share in shares), len(drawn), None


OF_OUTCOMES = {
    "coverage": lambda drawn: (len(set(drawn)), len(drawn), None),
    "entropy": entropy,
    "top_share": lambda drawn: rate(max(Counter(drawn).values()), len(drawn)),
}


def distinct_10(answers):
    """An outcome is among 10 of N answers unless all 10 are of the others."""
    n = len(answers)
    counts = Counter(answer.outcome for answer in answers).values()
    return sum(1 - math.comb(n - k, 10) / math.comb(n, 10) for k in counts), n, None


def valid_values(answers):
    return {answer.value for answer in answers if answer.valid}


OF_ANSWERS = {
    "distinct_10": distinct_10,
    "entropy_model": lambda answers: mean([-answer.log_prob for answer in answers]),
    "coverage_valid": lambda answers: (len(valid_values(answers)), len(answers), None),
    "valid_rate": lambda answers: rate(sum(answer.valid for answer in answers), len(answers)),
}


def entropy_valid(answers):
    return entropy([answer.value for answer in answers if answer.valid])


def cost(answers, tokens):
    """Of all answers, for each distinct value of a valid one."""
    distinct = len(valid_values(answers))
    return tokens / distinct if distinct else math.inf, len(answers), None


def target_rate(answers, texts):
    return rate(sum(answer.value in texts for answer in answers), len(answers))


def targets_covered(answers, texts):
    return len({answer.value for answer in answers} & set(texts)), len(answers), None


def recall(answers, texts):
    return targets_covered(answers, texts)[0] / len(texts), len(answers), None


def chi_square_on_target_p(answers, weights):
    return chi_square_p([answer for answer in answers if answer.value in weights], weights)


def chi_square_p(answers, weights):
    """Targets are pooled from the rarest on, until each cell expects five answers."""
    n, expected, observed = len(answers), [], []
    counts = Counter(answer.value for answer in answers)
    for weight, text in sorted((weight, text) for text, weight in weights.items()):
        if (expected and expected[0] < 5 - 1e-9) or weight * n < 5 - 1e-9:
            expected = [sum(expected) + weight * n]
            observed = [sum(observed) + counts[text]]
        else:
            expected.append(weight * n)
            observed.append(counts[text])
    if len(expected) < 2:
        return None
    if set(counts) - set(weights):
        return 0.0, n, (0.0, 1.0)
    pairs = zip(observed, expected, strict=True)
    statistic = math.fsum((seen - due) ** 2 / due for seen, due in pairs)
    return chi2.sf(statistic, len(expected) - 1), n, (0.0, 1.0)


def natural_ratio(answers, births):
    """Of the values alone; None where the commonest, or first of the commonest, is not born."""
    counts = Counter(answer.value for answer in answers if answer.value)
    top = sorted(name for name in counts if counts[name] == max(counts.values()))[:1]
    if not births.keys() & top:
        return None
    share, n, (low, high) = rate(counts[top[0]], sum(counts.values()))
    return share / births[top[0]], n, (low / births[top[0]], high / births[top[0]])


def kl(w, p):
    return sum(a * (math.log(a / b) if b else math.inf) for a, b in zip(w, p, strict=True))


def tv(w, p):
    apart = sum(abs(a - b) for a, b in zip(w, p, strict=True))
    return (apart + max(1 - sum(p), 0)) / 2


def entropy_exact(w, p):
    return -sum(b / sum(p) * math.log(b / sum(p)) for b in p if b)


OF_TARGETS = {
    "kl": kl,
    "tv": tv,
    "target_mass": lambda w, p: sum(p),
    "entropy_exact": entropy_exact,
    "recall_10": lambda w, p: sum(1 - (1 - b) ** 10 for b in p) / len(p),
    "recall_1000": lambda w, p: sum(1 - (1 - b) ** 1000 for b in p) / len(p),
}


def diversity(texts):
    return len(set().union(*texts)) / sum(map(len, texts))


def unigram_diversity(texts):
    """Distinct words / words, and the jackknife's interval (Efron and Stein 1981)."""
    value, n = diversity(texts), len(texts)
    without = [diversity(texts[:at] + texts[at + 1 :]) for at in range(n)]
    spread = sum((x - sum(without) / n) ** 2 for x in without)
    half = student.ppf(0.975, n - 1) * math.sqrt((n - 1) / n * spread)
    return value, n, (max(value - half, 0), min(value + half, 1))


def judge_score(grades):
    """Each verdict is the median of its repeats, each question the mean of its turns."""
    by_question = {}
    for question, repeats in grades:
        if found := [grade for grade in repeats if grade]:
            by_question.setdefault(question, []).append(statistics.median(found))
    return mean([sum(turns) / len(turns) for turns in by_question.values()], 1, 10)


OF_VERDICTS = {
    "judge_score": judge_score,
    "judged_rate": lambda grades: rate(sum(any(repeats) for _, repeats in grades), len(grades)),
}


# Every row that a run has, by model, tuning, task, prompt, field and metric.


def recomputed(folder):
    births = {row["name"]: row["probability"] for row in rows(folder, "natural")}
    texts = {
        prompt: {row["text"]: row["weight"] for row in its}
        for task in TASKS["base"]
        for prompt, its in by(rows(folder, f"targets/{task}"), "prompt").items()
    }
    found = of_references(births, texts) | of_adapter(folder / "adapters/tiny/all", "all")
    lives = {}
    for tuning in TASKS:
        drawn, exact, text, verdicts = (
            rows(folder, f"{kind}/tiny/{tuning}")
            for kind in ("samples", "exact", "text", "verdicts")
        )
        tokens = json.loads((folder / f"samples/tiny/{tuning}.run.json").read_text())["tokens"]
        by_prompt, scored = of_answers(drawn, texts, births, tokens), by(exact, "prompt")
        assert set(by_prompt) == set(scored)
        by_prompt = {prompt: its | of_targets(scored[prompt]) for prompt, its in by_prompt.items()}
        found |= of_prompts(by_prompt, tuning, "value") | of_text(text, tuning)
        found |= of_verdicts(verdicts, tuning)
        sketches = [row for row in drawn if row["prompt"] == "biographies/sketch"]
        lives[tuning] = [life for row in sketches if (life := read_biography(row))]
        found |= of_biographies(lives[tuning], lives["base"], tuning, len(sketches))
    for temperature, drawn in by(rows(folder, "sweep/tiny"), "temperature").items():
        by_prompt = of_answers(drawn, texts, births)
        found |= of_prompts(by_prompt, "base", f"temperature {temperature:g}")
    return found


def rows(folder, file):
    return pq.read_table(folder / f"{file}.parquet").to_pylist()


def by(table, key):
    groups = {}
    for row in table:
        groups.setdefault(row[key], []).append(row)
    return groups


def of_answers(drawn, texts, births, tokens=None):
    """By prompt and metric; nobody counts the tokens of a sweep."""
    found = {}
    for prompt, its in by(drawn, "prompt").items():
        answers = [read_answer(row, 6 if prompt == "biographies/sketch" else 1) for row in its]
        outcomes = [answer.outcome for answer in answers]
        found[prompt] = {metric: plain(outcomes) for metric, plain in OF_OUTCOMES.items()}
        found[prompt] |= {metric: plain(answers) for metric, plain in OF_ANSWERS.items()}
        if valid_values(answers):
            found[prompt]["entropy_valid"] = entropy_valid(answers)
        if tokens:
            costs = zip(("cost_read", "cost_written"), tokens[prompt], strict=True)
            found[prompt] |= {metric: cost(answers, its) for metric, its in costs}
        if prompt != "biographies/sketch":
            found[prompt]["target_rate"] = target_rate(answers, texts[prompt])
            found[prompt]["targets_covered"] = targets_covered(answers, texts[prompt])
            found[prompt]["recall"] = recall(answers, texts[prompt])
            if tested := chi_square_p(answers, texts[prompt]):
                found[prompt]["chi_square_p"] = tested
            if tested := chi_square_on_target_p(answers, texts[prompt]):
                found[prompt]["chi_square_on_target_p"] = tested
        if prompt.startswith("names/") and (ratio := natural_ratio(answers, births)):
            found[prompt]["natural_ratio"] = ratio
    return found


def of_targets(its_rows):
    w, p = ([row[column] for row in its_rows] for column in ("weight", "probability"))
    return {metric: certain(plain(w, p), len(w)) for metric, plain in OF_TARGETS.items()}


def of_prompts(by_prompt, tuning, field):
    """Rows of the prompts, and of the means over each task's."""
    found, groups = {}, {}
    for prompt, its in by_prompt.items():
        task = prompt.split("/")[0]
        for metric, one in its.items():
            found["tiny", tuning, task, prompt, field, metric] = one
            groups.setdefault(("tiny", tuning, task, None, field, metric), []).append(one)
    return found | {key: mean_of(ones) for key, ones in groups.items()}


def mean_of(ones):
    """Prompts are drawn independently: the distances to their intervals' ends add in quadrature."""
    values, ns, intervals = zip(*ones, strict=True)
    value = sum(values) / len(values)
    if None in intervals:
        return value, sum(ns), None
    # Of infinite ones, the distance is 0.
    apart = [(v > low and v - low, v < high and high - v)
             for v, (low, high) in zip(values, intervals, strict=True)]  # fmt: skip
    below, above = (math.hypot(*distances) / len(values) for distances in zip(*apart, strict=True))
    return value, sum(ns), (value - below, value + above)


def of_references(births, texts):
    """Of as many draws from the natural distributions, which the run does not keep."""
    found = {}
    for prompt, its_texts in texts.items():
        task, rng = prompt.split("/")[0], np.random.default_rng(derive(SEED, "natural", prompt))
        if task not in ("names", "numbers"):
            continue
        pool, p = (list(births), list(births.values())) if task == "names" else ([*its_texts], None)
        drawn = rng.choice(pool, DRAWS, p=p).tolist()
        for metric, plain in OF_OUTCOMES.items():
            found["natural", "natural", task, prompt, "value", metric] = plain(drawn)
    return found


def of_text(paragraphs, tuning):
    n = sum(row["tokens"] for row in paragraphs)
    loss = -sum(row["log_prob"] for row in paragraphs) / n
    return {("tiny", tuning, "text", None, "value", "loss_per_token"): certain(loss, n)}


def of_adapter(adapter, tuning):
    tuned = parameters(adapter / "adapter_model.safetensors")
    n = tuned + parameters(MODEL / "model.safetensors")
    read = json.loads((adapter / "run.json").read_text())
    found = {
        "trainable_share": certain(tuned / n, n),
        "training_tokens": certain(read["tokens"], read["tokens"]),
    }
    return {
        ("tiny", tuning, "adapter", None, "value", metric): its for metric, its in found.items()
    }


def parameters(file):
    return sum(tensor.numel() for tensor in load_file(file).values())


def of_verdicts(verdicts, tuning):
    groups = [(f"mt-bench/{name}", its) for name, its in by(verdicts, "category").items()]
    found = {}
    for prompt, its in [*groups, (None, verdicts)]:
        grades = [(row["question_id"], [read_grade(text) for text in row["texts"]]) for row in its]
        for metric, plain in OF_VERDICTS.items():
            found["tiny", tuning, "mt-bench", prompt, "value", metric] = plain(grades)
    return found


def read_grade(text):
    grade = int(text.split("[[")[1].split("]]")[0]) if "[[" in text else 0
    return grade if 1 <= grade <= 10 else None


def of_biographies(lives, base, tuning, answers):
    found = {("biography", "valid_rate"): rate(len(lives), answers)}
    for field in ATTRIBUTES:
        values, before = ([life[field] for life in its] for its in (lives, base))
        top = Counter(sorted(before, key=str)).most_common(1)[0][0]  # the first of equals
        found |= {(field, metric): plain(values) for metric, plain in OF_OUTCOMES.items()}
        found[field, "base_top_share"] = rate(values.count(top), len(lives))
    genders = [life["gender"] for life in lives]
    for gender, share in SHARES.items():
        found["gender", share] = rate(genders.count(gender), len(lives))
    for field in ("accomplishment", "biography"):
        found[field, "unigram_diversity"] = unigram_diversity(
            [words(life[field]) for life in lives]
        )
    where = "tiny", tuning, "biographies", "biographies/sketch"
    return {(*where, field, metric): one for (field, metric), one in found.items()}


# The claims.


@pytest.fixture(scope="module")
def both(run):
    """Each row of the metrics' file beside its recomputation, by what both are about."""
    columns = ("model", "tuning", "task", "prompt", "field", "metric")
    table = rows(run, "metrics")
    measured = {tuple(row[column] for column in columns): row for row in table}
    assert len(measured) == len(table)
    again = recomputed(run)
    assert {key[-1] for key in measured} == {key[-1] for key in again}
    assert set(measured) == set(again)
    return {key: (measured[key], again[key]) for key in measured}


def test_every_value_is_what_plain_code_makes_of_the_answers(both):
    for key, (row, (value, n, _)) in both.items():
        assert row["value"] == pytest.approx(value, **close), key
        assert (row["n"], row["seed"]) == (n, SEED), key


def test_every_interval_holds_its_value(both):
    for key, (row, _) in both.items():
        assert row["ci_low"] <= row["value"] <= row["ci_high"], key


def test_intervals_of_rates_and_means_are_those_of_wilson_and_student(both):
    for key, (row, (_, _, interval)) in both.items():
        if interval is not None:
            assert (row["ci_low"], row["ci_high"]) == pytest.approx(interval, **close), key


def test_metrics_that_cannot_pass_1_are_known(both):
    metrics = {key[-1] for key in both}
    assert metrics >= {*UP_TO_ONE} - {"unlisted_mass"}  # of a method that lists some targets alone
    assert max(row["ci_high"] for key, (row, _) in both.items() if up_to_one(key[-1])) <= 1
