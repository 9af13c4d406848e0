"""The model card: what the hub reads of it, what a reader does, and that texts in it stay texts."""

import ast
import re

import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json, write_json
from diffuselm.files.provenance import file_hash, run_record
from diffuselm.files.schemas import METRICS, TRAINING
from diffuselm.files.tables import read_table, write_rows, write_table
from diffuselm.measure.prompt_metrics import measure
from diffuselm.paper.model_card import model_cards
from diffuselm.tasks.target_sets import write_targets

HUB = {"hub": "org/model-7b-it", "revision": "a" * 40, "stand_in": False, "paper_model": None}
RECORD = {
    "model": "own",
    "path": "models/own",
    "hub": None,
    "revision": None,
    "stand_in": True,
    "paper_model": "llama-2",
    "settings": {
        "four_bit": False,
        "chat_template": None,
        "template_args": {},
        "leading_space": None,
    },
    "files": {"model.safetensors": "f1" * 32, "tokenizer.json": "f2" * 32},
}
SETTINGS = {
    "rank": 4,
    "alpha": 8,
    "dropout": 0.0,
    "target_modules": ["q_proj", "v_proj"],
    "learning_rate": 5e-5,
    "eps": 1e-5,
    "max_grad_norm": 1.0,
    "passes": 50,
    "stop_ratio": 1.2,
    "tuning": "dice",
    "prompts": ["numbers/two", "numbers/one"],
    "start_sha256": None,
    "dtype": "float32",
    "end_tokens": [2, 7],
}
TEXTS = {"numbers/one": "Roll a die.", "numbers/two": "Roll two dice.", "numbers/coin": "Toss."}
MEASURED = ("fruits/any", *TEXTS)
# None of it may be markup, a cell's or a block's end, or code.
HOSTILE = (
    "<script>alert(1)</script> | ![i](https://evil.example/x.png) [l](javascript:alert(1)) `x`\n"
    "```\n# Title\n---\n<!-- '); import os; os.abort() -->\u2028www.evil.example m@evil.example {x}"
)


def draws(values, prompt):
    told = {"prompt": prompt, "seed": 3, "valid": True, "logprob": -1.0, "truncated": False}
    rows = [{**told, "draw": i, "text": value, "value": value} for i, value in enumerate(values)]
    return pd.DataFrame(rows)


def scored(probabilities, prompt):
    rows = [{"prompt": prompt, "target": str(i), "probability": p, "weight": 1 / len(probabilities)}
            for i, p in enumerate(probabilities)]  # fmt: skip
    return pd.DataFrame(rows)


def metrics(path):
    """As the stage `measure` makes them: base and tuned, on two tasks, and another seed's."""
    frames = []
    for tuning, kinds, p in (("base", 1, [0.5, 0.0]), ("dice", 4, [0.45, 0.45])):
        answers = [draws([str(i % kinds) for i in range(100)], prompt) for prompt in MEASURED]
        exact = scored(p, "numbers/one")
        for seed, used in ((3, exact), (4, exact.head(0))):
            drawn = pd.concat(answers).assign(seed=seed)
            if seed == 4:
                drawn["value"] = drawn["text"] = [str(i) for i in range(len(drawn))]
            named = {"model": "own", "tuning": tuning, "seed": seed}
            frames.append(measure(drawn, used, {}, {}, **named))
    write_table(path, pd.concat(frames), METRICS)


def adapter(folder, *, settings=None, start=None, prompts=None, **record):
    """An adapter folder as the stage `tune` leaves it, but for its weights, which no card reads."""
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_text(folder.name)
    model = {**RECORD, **record, "settings": {**RECORD["settings"], **(settings or {})}}
    tuned = {**SETTINGS, "start_sha256": start, "prompts": prompts or SETTINGS["prompts"]}
    made = run_record(settings=tuned, seed=3, model=model, device="cpu")
    made["files"] = {"adapter_model.safetensors": file_hash(folder / "adapter_model.safetensors")}
    write_json(folder / "run.json", made)
    step = {"prompt": "numbers/one", "optimal": 1.5, "learning_rate": 5e-5, "seconds": 1.0}
    rows = [{**step, "step": i, "loss": 2.0 + i} for i in range(6)]
    write_rows(folder / "training.parquet", rows, TRAINING)
    return folder


@pytest.fixture
def cards(tmp_path):
    """Write cards into folders of adapters; returns their texts."""
    metrics(tmp_path / "metrics.parquet")

    def write(*adapters, texts=TEXTS):
        prompts = {
            id.removeprefix("numbers/"): {"text": text, "targets": [0, 1]}
            for id, text in texts.items()
        }
        task, targets = tmp_path / "numbers.yaml", tmp_path / "targets.parquet"
        task.write_text(yaml.safe_dump({"prompts": prompts}))
        write_targets(task=task, seed=3, out=targets)
        model_cards(
            runs=[folder / "run.json" for folder in adapters],
            metrics=tmp_path / "metrics.parquet",
            targets=[targets],
        )
        return [(folder / "README.md").read_text() for folder in adapters]

    return write


def header(card):
    return ModelCard(card).data.to_dict()


def rows(card, *beginning):
    """Cells of the table rows that begin with these cells."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines()]
    return [line for line in lines if tuple(line[: len(beginning)]) == beginning]


def code(card):
    (block,) = re.findall(r"^```python\n(.*?)\n```$", card, re.DOTALL | re.MULTILINE)
    return block


def test_the_hub_reads_what_the_adapter_belongs_to(cards, tmp_path):
    (card,) = cards(adapter(tmp_path / "dice", **HUB))
    assert header(card) == {
        "base_model": "org/model-7b-it",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["diffuse-distributions", "lora"],
    }
    assert f"revision {'a' * 40}" in card
    assert f"'org/model-7b-it', revision='{'a' * 40}'" in code(card)
    assert "stand-in" not in card


def test_a_local_base_model_is_told_by_its_files_and_a_stand_in_as_such(cards, tmp_path):
    (card,) = cards(adapter(tmp_path / "dice"))
    assert header(card).keys() == {"library_name", "pipeline_tag", "tags"}
    assert rows(card, "model.safetensors") == [["model.safetensors", "f1" * 32]]
    assert "**A stand-in**: " in card
    assert "of the paper's llama-2" in card


def test_it_tells_prompts_settings_and_how_far_training_came(cards, tmp_path):
    (card,) = cards(adapter(tmp_path / "dice"))
    assert rows(card, "numbers/one")[0] == ["numbers/one", "Roll a die.", "2"]
    told = {
        "rank": "4",
        "learning rate": "5e-05",
        "passes": "3 of at most 50",
        "early stop": "at 1.2 x the entropy of the targets",
        "steps": "6",
        "loss of the last pass": "13.000 nats",
        "least possible loss": "3.000 nats",
        "seed": "3",
        "base weights": "float32",
    }
    for name, value in told.items():
        assert rows(card, name) == [[name, value]]
    assert rows(card, "torch")
    assert "commit" in rows(card, "diffuselm")[0][1]
    assert "@inproceedings{zhang2024forcing," in card
    assert "@software{diffuselm," in card


def test_it_shows_each_task_before_and_after_under_the_same_seed(cards, tmp_path):
    (card,) = cards(adapter(tmp_path / "dice"))
    some = "2 of 3 prompts"
    ((*_, before, after, n),) = rows(card, "numbers", some, "coverage")
    assert before.startswith("1.0 (1.0–")
    assert after.startswith("4.0 (4.0–")
    assert n == "300"
    ((*_, before, after, _),) = rows(card, "numbers", some, "entropy")
    assert re.fullmatch(r"0\.00 \(0\.00–0\.\d\d\)", before)
    assert re.fullmatch(r"1\.39 \(1\.\d\d–1\.\d\d\)", after)
    assert rows(card, "numbers", some, "target mass")[0][3:] == ["0.500", "0.900", "2"]
    assert rows(card, "numbers", some, "KL divergence")[0][3:] == ["∞", "0.105", "2"]


def test_it_warns_where_prompts_did_not_get_the_papers_number_of_answers(cards, tmp_path):
    warning = "The paper's are of 1,000 to each prompt; here "
    (card,) = cards(adapter(tmp_path / "few"))
    assert warning + "fruits has 100, numbers has 100." in " ".join(card.split())
    path = tmp_path / "metrics.parquet"
    measured = read_table(path, METRICS).to_pandas()
    measured.loc[measured["prompt"].notna(), "n"] *= 10
    write_table(path, measured, METRICS)
    (card,) = cards(adapter(tmp_path / "dice"))
    assert warning not in " ".join(card.split())


def test_where_a_task_is_tuned_on_in_part_its_tuned_prompts_stand_apart(cards, tmp_path):
    (card,) = cards(adapter(tmp_path / "dice"))
    places = [tuple(line[:2]) for line in rows(card) if line[2:3] == ["coverage"]]
    assert places == [
        ("fruits", "no"),
        ("numbers", "2 of 3 prompts"),
        ("numbers/one", "yes"),
        ("numbers/two", "yes"),
    ]
    ((*_, before, after, n),) = rows(card, "numbers/two", "yes", "coverage")
    assert (before[:3], after[:3], n) == ("1.0", "4.0", "100")


def test_a_task_that_is_tuned_on_whole_is_one_row(cards, tmp_path):
    (card,) = cards(adapter(tmp_path / "dice", prompts=[*TEXTS]))
    places = [tuple(line[:2]) for line in rows(card) if line[2:3] == ["coverage"]]
    assert places == [("fruits", "no"), ("numbers", "yes")]


def test_the_adapter_it_started_from_is_named(cards, tmp_path):
    first = adapter(tmp_path / "all")
    start = file_hash(first / "adapter_model.safetensors")
    plain, further = cards(first, adapter(tmp_path / "biographies", start=start))
    assert "Trained further" not in plain
    assert "Trained further from the adapter all." in further
    (strange,) = cards(adapter(tmp_path / "strange", start="0" * 64))
    assert f"from the adapter with SHA-256 {'0' * 64}." in strange


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"template_args": {"enable_thinking": False}}, "**{'enable_thinking': False}"),
        ({"chat_template": "{# a #}\n```\n{{ 'x' }}"}, "tokenizer.chat_template = "),
        ({"template_args": {"date_string": "26 July 2024"}}, "{% macro strftime_now"),
        ({"four_bit": True}, "quantization_config=BitsAndBytesConfig(load_in_4bit=True"),
    ],
)
def test_its_code_asks_as_the_record_says(cards, tmp_path, settings, expected):
    plain, own = cards(adapter(tmp_path / "dice"), adapter(tmp_path / "own", settings=settings))
    assert expected not in plain
    assert expected in code(own)
    assert "eos_token_id=[2, 7], pad_token_id=2" in code(own)
    ast.parse(code(own))


def test_a_space_before_the_answers_is_told(cards, tmp_path):
    plain, own = cards(
        adapter(tmp_path / "dice"), adapter(tmp_path / "own", settings={"leading_space": True})
    )
    assert "begin with a space" not in plain
    assert "begin with a space" in own


def test_a_tokenizer_without_tokenizer_json_is_opened_by_its_class(cards, tmp_path):
    plain, own = cards(
        adapter(tmp_path / "dice"), adapter(tmp_path / "own", files={"tokenizer.model": "f" * 64})
    )
    assert "tokenizer = PreTrainedTokenizerFast.from_pretrained('models/own')" in code(plain)
    assert "tokenizer = AutoTokenizer.from_pretrained('models/own')" in code(own)


def test_no_text_of_a_prompt_or_path_is_markup_or_code(cards, tmp_path):
    hostile = {**TEXTS, "numbers/two": HOSTILE}
    own = adapter(
        tmp_path / "dice",
        path=HOSTILE,
        files={HOSTILE: "f" * 64, "tokenizer.json": "f" * 64},
        settings={"chat_template": HOSTILE, "template_args": {"x": HOSTILE}},
    )
    (plain,), (card,) = cards(adapter(tmp_path / "plain")), cards(own, texts=hostile)

    def shape(text):
        tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
        inline = (child for token in tokens for child in token.children or [])
        kinds = [token.type for token in [*tokens, *inline]]
        # A comment keeps an e-mail address from being linked.
        return set(kinds) - {"html_inline"}, kinds.count("heading_open"), kinds.count("table_open")

    assert shape(card) == shape(plain)
    assert set(re.findall("<!--.*?-->", re.sub("(?s)```.*?\n```", "", card))) <= {"<!-- -->"}
    tree = ast.parse(code(card))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert sum(getattr(node, "value", None) == HOSTILE for node in ast.walk(tree)) == 4


def test_its_bytes_depend_on_its_inputs_alone(cards, tmp_path):
    folder = adapter(tmp_path / "dice")
    first, again = (cards(folder)[0] for _ in range(2))
    assert first == again
    assert str(folder) in first
    elsewhere = (folder / "README.md").read_bytes()
    assert b"\r" not in elsewhere


def test_a_prompt_that_no_task_has_is_one_line(cards, tmp_path):
    with pytest.raises(InputError, match=r"run\.json: tuned on 'numbers/two'; expected") as error:
        cards(adapter(tmp_path / "dice"), texts={"numbers/one": "Roll a die."})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "dice/README.md").exists()


def test_records_are_compared_held_to_the_form_and_form_is_named_where_it_ran(tmp_path):
    """A config of records alone has no tuning `form`."""
    task = tmp_path / "notes.yaml"
    task.write_text(
        "{record: note, fields: {mood: {values: [good, bad]}, text: {}}, prompts: {a: {text: Hi}}}"
    )
    write_targets(task=task, seed=3, out=tmp_path / "notes.parquet")

    def card(name, *further):
        frames = [
            measure(
                draws([str(i % kinds) for i in range(100)], prompt), scored([0.5], prompt).head(0),
                {}, {}, model="own", tuning=tuning, seed=3,
            )
            for tuning, kinds, prompt in (
                ("held", 1, "notes/a"), ("held-dice", 2, "notes/a"), ("held-notes", 4, "notes/a"),
                ("notes", 7, "notes/a"), *further,
            )
        ]  # fmt: skip
        write_table(tmp_path / "held.parquet", pd.concat(frames), METRICS)
        folder = adapter(tmp_path / name, prompts=["notes/a"])
        made = read_json(folder / "run.json")
        write_json(folder / "run.json", made | {"settings": made["settings"] | {"tuning": "notes"}})
        model_cards(
            runs=[folder / "run.json"],
            metrics=tmp_path / "held.parquet",
            targets=[tmp_path / "notes.parquet"],
            baseline="form",
        )
        return (folder / "README.md").read_text()

    alone = card("alone")
    [[*_, before, after, n]] = rows(alone, "notes", "yes", "coverage")
    assert (before.split()[0], after.split()[0], n) == ("1.0", "4.0", "100")
    assert (
        "Before: the base model, under the same seed. Records, before and after, are held" in alone
    )
    assert "(tuning `form`), under the same" in card("both", ("form", 1, "fruits/any"))
