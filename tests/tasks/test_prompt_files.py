"""Prompt files of the paper's authors' form: read to the letter, or refused in one line."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from diffuselm.config.settings import PAPER_TASKS
from diffuselm.errors import InputError
from diffuselm.files import contracts
from diffuselm.tasks.prompt_files import task_inputs, task_name, task_paths
from diffuselm.tasks.tasks import (
    NaturalNames,
    Openings,
    Prompt,
    TargetSet,
    load_task,
    write_targets,
)

TASKS = Path(__file__).parents[2] / "resources" / "tasks"
# The authors' names of folders and files, and the prompts of ours that they stand for.
PUBLISHED = {
    "baby-names/train": "names/english",
    **{
        f"continent-countries/{slug}": f"countries/{slug}"
        for slug in ("africa", "asia", "europe", "north-america", "oceania", "south-america")
    },
    "day-date/day-0": "dates/weekday",
    "day-date/day-1": "dates/weekday-2",
    "day-date/december-0": "dates/december",
    "day-date/december-1": "dates/december-2",
    "day-date/june-0": "dates/june",
    "day-date/june-1": "dates/june-2",
    "fruits/fruit-0": "fruits/output",
    "fruits/fruit-1": "fruits/pick",
    "numbers/even-0": "numbers/even-1-10",
    "numbers/even-1": "numbers/even-1-100",
    "numbers/odd-0": "numbers/odd-1-10",
    "numbers/odd-1": "numbers/odd-1-100",
    "numbers/prime-0": "numbers/primes-1-50",
    "numbers/prime-1": "numbers/primes-1-100",
    "numbers/rng-0": "numbers/1-10",
    "numbers/rng-1": "numbers/1-100",
    "occupations/occupations-0": "occupations/any",
    "occupations/occupations-1": "occupations/a",
    "occupations/occupations-2": "occupations/m",
}
NAMES = TargetSet.uniform(("Ann", "Bo", "Zoë"))  # their file holds names where ours draws them
PERSONS = (
    "{Ada Ley}\n{Female}\n{May 1, 1901}\n{Rome, Italy}",
    "{Bo Ek}\n{Male}\n{June 2, 1950}\n{Lund, Sweden}",
)
COIN = {"request": "Flip a coin.", "response": [""], "targets": ["{Heads}", "{Tails}"]}


def write(path, entry):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = entry if isinstance(entry, str) else json.dumps(entry, ensure_ascii=False)
    path.write_text(text, "utf-8")
    return path


def coin(folder, **changes):
    entry = {key: value for key, value in (COIN | changes).items() if value is not ...}
    return write(folder / "coin.json", entry)


@pytest.fixture(scope="module")
def ours():
    """Our prompts, the names as if they had been drawn; published files say no longest answer."""
    prompts = [
        replace(prompt, max_tokens=None)
        for task in PAPER_TASKS
        for prompt in load_task(TASKS / f"{task}.yaml")
    ]
    return {
        p.id: Prompt(p.id, p.text, NAMES) if isinstance(p.targets, NaturalNames) else p
        for p in prompts
    }


@pytest.fixture
def published(tmp_path, ours):
    """Our 26 prompts and a biography's in the authors' layout."""
    root = tmp_path / "prompts"
    for theirs, id_ in PUBLISHED.items():
        prompt = ours[id_]
        targets = [f"{{{text}}}" for text in prompt.targets.texts]
        entry = {"request": prompt.text, "response": [""], "targets": targets}
        write(root / f"{theirs}.json", entry)
    biography = {"request": "Sketch a person.\n", "response": [""], "targets": PERSONS}
    biography["eos"] = False
    people = root / "ficticious-people"
    write(people / "ficticious-people-train.json", biography)
    write(people / "ficticious-people.json", biography | {"targets": []})
    return root


def test_a_folder_of_published_tasks_is_read_as_our_prompts(published, ours):
    found = {p.id: p for task in task_paths(published) for p in load_task(task)}
    assert found.pop("biographies/sketch").text == "Sketch a person.\n"
    assert found == ours
    assert len(found) == 26


def test_a_published_folder_is_named_as_our_task(published):
    assert [task_name(task) for task in task_paths(published)] == [
        "names", "countries", "dates", "biographies", "fruits", "numbers", "occupations",
    ]  # fmt: skip


def test_a_published_file_by_itself_is_the_same_prompt(published, ours):
    for theirs, id_ in PUBLISHED.items():
        assert load_task(published / f"{theirs}.json") == (ours[id_],)


@pytest.mark.parametrize(
    ("path", "task"),
    [
        ("coins.yaml", "coins"),
        ("baby-names.yaml", "baby-names"),
        ("coin.json", "coin"),
        ("numbers/coin.json", "coin"),
        ("numbers/rng-0.json", "numbers"),
        ("numbers/rng-0.yaml", "rng-0"),
        ("coins/rng-0.json", "rng-0"),
        ("fictitious-people/fictitious-people-train.json", "biographies"),
    ],
)
def test_a_file_that_was_not_published_is_named_by_its_stem(path, task):
    assert task_name(Path(path)) == task


def test_a_folder_is_named_by_itself_also_where_it_is_the_current_one(tmp_path, monkeypatch):
    folder = coin(tmp_path / "my-coins").parent
    monkeypatch.chdir(folder)
    assert task_name(folder) == task_name(Path()) == "my-coins"
    assert [prompt.id for prompt in load_task(Path())] == ["my-coins/coin"]


def test_prompts_of_a_folder_are_sorted_by_file(tmp_path):
    for stem in ("b", "a-2", "a"):
        write(tmp_path / "coins" / f"{stem}.json", COIN)
    write(tmp_path / "coins" / "README.md", "not a prompt")
    write(tmp_path / "coins" / ".b.json", "a file system's own")
    ids = [prompt.id for prompt in load_task(tmp_path / "coins")]
    assert ids == ["coins/a-2", "coins/a", "coins/b"]


def test_a_task_is_read_from_the_files_of_its_folder(tmp_path):
    folder = tmp_path / "coins"
    files = [write(folder / f"{stem}.json", COIN) for stem in ("a", "b")]
    write(folder / "c.yaml", "")
    assert task_inputs(folder) == files
    assert task_inputs(files[0]) == [files[0]]
    later = Path("results/tasks/later.yaml")
    assert task_inputs(later) == task_paths(later) == [later]


def test_sub_folders_of_prompt_files_are_tasks_of_their_own(tmp_path):
    for name in ("b", "a", ".hidden"):
        coin(tmp_path / "prompts" / name)
    write(tmp_path / "prompts" / "docs" / "README.md", "no prompts")
    assert task_paths(tmp_path / "prompts") == [tmp_path / "prompts" / name for name in "ab"]
    assert task_paths(tmp_path / "prompts" / "a") == [tmp_path / "prompts" / "a"]


def refusal(function, path):
    with pytest.raises(InputError) as caught:
        function(path)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert len(line) < 1000
    return line


def test_a_folder_without_prompt_files_or_with_both_kinds_is_refused(tmp_path):
    write(tmp_path / "coins.yaml", "")
    for function, expected in (
        (task_paths, "no *.json files in this folder or its sub-folders; expected prompt files"),
        (task_inputs, "no *.json files in this folder; expected one for each prompt"),
    ):
        assert refusal(function, tmp_path).startswith(f"{tmp_path}: {expected}")
    folder = coin(tmp_path / "coins").parent
    deep = write(tmp_path / "deep" / "x" / "notes.txt", "").parent.parent
    assert refusal(load_task, deep).startswith(f"{deep}: no *.json files in this folder")
    coin(folder / "sub")
    assert "*.json files beside sub-folders of them" in refusal(task_paths, folder)


def test_two_files_of_one_prompt_are_refused(tmp_path):
    write(tmp_path / "numbers" / "1-10.json", COIN)
    write(tmp_path / "numbers" / "rng-0.json", COIN)
    assert refusal(load_task, tmp_path / "numbers") == (
        f"{tmp_path / 'numbers' / 'rng-0.json'}: prompt '1-10' is also 1-10.json; expected one "
        "file for each prompt"
    )


def test_a_file_without_targets_only_goes_with_one_of_the_same_request(published):
    people = published / "ficticious-people"
    [prompt] = load_task(people)
    assert prompt.id == "biographies/sketch"
    alone = people / "ficticious-people.json"
    write(alone, COIN | {"targets": []})
    for path in (people, alone):
        assert refusal(load_task, path).startswith(f"{alone}: targets: an empty list; expected")


def test_biographies_are_four_braced_lines_after_which_the_answer_goes_on(published):
    [prompt] = load_task(published / "ficticious-people")
    assert prompt.fields == 6
    assert not prompt.ends


@pytest.mark.parametrize("end", ["", "\n"])
def test_biographies_are_taken_as_they_are(published, end):
    """A line break that theirs do not have would be tuned on as a token."""
    texts = tuple(f"{text}{end}" for text in PERSONS)
    write(
        published / "ficticious-people" / "ficticious-people-train.json",
        {"request": "Sketch a person.\n", "response": "", "targets": texts},
    )
    [prompt] = load_task(published / "ficticious-people")
    assert prompt.targets == Openings(texts, (0.5, 0.5))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"eos": True}, "eos: true; expected false"),
        ({"targets": ["{Ada}"]}, "targets: '{Ada}'; expected 4 lines of one braced value"),
        ({"targets": [f"{PERSONS[0]}\n{{Poet}}"]}, "expected 4 lines of one braced value"),
        ({"targets": [PERSONS[0].replace("\n", "\r\n")]}, "expected one value between braces"),
        ({"targets": [PERSONS[0].replace("{Female}", "Female")]}, "targets: 'Female'; expected"),
        ({"targets": [PERSONS[0].replace("Female", " ")]}, "targets: ' '; expected one line"),
        ({"targets": [PERSONS[0], f"{PERSONS[0]}\n"]}, "appears twice; expected distinct"),
    ],
)
def test_biographies_of_another_form_are_refused(tmp_path, changes, expected):
    path = write(tmp_path / "biographies" / "sketch.json", COIN | {"targets": PERSONS} | changes)
    assert expected in refusal(load_task, path.parent)


def test_weights_are_divided_by_their_sum(tmp_path):
    [prompt] = load_task(coin(tmp_path, weights=[1, 3.0]))
    assert prompt.targets == TargetSet(("Heads", "Tails"), (0.25, 0.75))
    [prompt] = load_task(coin(tmp_path, weights=[10**300, 1e308]))
    assert math.fsum(prompt.targets.weights) == 1


def test_no_weights_are_even_ones(tmp_path):
    for weights in ([], [1, 1]):
        [prompt] = load_task(coin(tmp_path, weights=weights))
        assert prompt.targets == TargetSet.uniform(["Heads", "Tails"])


def test_a_response_is_an_opening_or_a_list_of_alternatives(tmp_path):
    for written, openings in (("", ("",)), ("Sure: ", ("Sure: ",)), (["", "A\n"], ("", "A\n"))):
        [prompt] = load_task(coin(tmp_path, response=written))
        assert prompt.openings == openings


def test_an_end_token_follows_unless_the_file_says_otherwise(tmp_path):
    for written, ends in ((..., True), (True, True), (False, False)):
        [prompt] = load_task(coin(tmp_path, eos=written))
        assert prompt.ends is ends


@pytest.mark.parametrize("spaced", ["Flip\n\na coin.\n", " Flip", "Flip {a} “coin”, 😀"])
def test_a_request_is_kept_to_the_letter(tmp_path, spaced):
    [prompt] = load_task(coin(tmp_path, request=spaced))
    assert prompt.text == spaced


def test_targets_of_a_folder_are_written_as_those_of_a_yaml_file(published, tmp_path):
    read = {}
    for name, path in (("ours", TASKS / "dates.yaml"), ("theirs", published / "day-date")):
        out = tmp_path / f"{name}.parquet"
        write_targets(path, None, 1, out)
        rows = contracts.read_table(out, contracts.TARGETS).to_pylist()
        read[name] = sorted(rows, key=lambda row: row["prompt"])
    assert read["ours"] == read["theirs"]
    write_targets(published / "baby-names", None, 1, out)
    rows = contracts.read_table(out, contracts.TARGETS).to_pylist()
    assert [row["text"] for row in rows] == list(NAMES.texts)


BAD_ENTRIES = {
    "no request": ({"request": ...}, "no key 'request'"),
    "no response": ({"response": ...}, "no key 'response'"),
    "no targets": ({"targets": ...}, "no key 'targets'"),
    "unknown key": ({"target": []}, "unknown key 'target' (str); expected request, response"),
    "request a list": ({"request": ["a"]}, "request: a list; expected text"),
    "request a number": ({"request": 1}, "request: 1 (int); expected text"),
    "blank request": ({"request": " \n"}, "request: ' \\n' (str); expected text"),
    "targets a text": ({"targets": "{Heads}"}, "targets: '{Heads}' (str); expected a list"),
    "targets an object": ({"targets": {"{Heads}": 1}}, "targets: a mapping; expected a list"),
    "no target": ({"targets": []}, "targets: an empty list; expected at least one"),
    "repeated target": ({"targets": ["{a}", "{a}"]}, "targets: 'a' appears twice"),
    "target a number": ({"targets": [1]}, "targets: 1 (int); expected text"),
    "target null": ({"targets": [None]}, "targets: nothing; expected text"),
    "no braces": ({"targets": ["Heads"]}, "targets: 'Heads'; expected one value between braces"),
    "two values": ({"targets": ["{a}{b}"]}, "targets: '{a}{b}'; expected one value between"),
    "two lines": ({"targets": ["{a}\n{b}"]}, "targets: '{a}\\n{b}'; expected one value between"),
    "space outside": ({"targets": ["{a} "]}, "targets: '{a} '; expected one value between"),
    "space inside": ({"targets": ["{ a}"]}, "targets: ' a'; expected one line of text"),
    "no value": ({"targets": ["{}"]}, "targets: ''; expected one line of text"),
    "nested": ({"targets": ["{{a}}"]}, "targets: '{{a}}'; expected one value between"),
    "endless target": ({"targets": ["a" * 10**6]}, "…; expected one value between braces"),
    "half a character": ({"targets": "HALF"}, "targets: '{\\ud800}' (str); expected whole char"),
    "weights short": ({"weights": [1]}, "weights: 1 of them; expected a list of 2"),
    "weights long": ({"weights": [1, 1, 1]}, "weights: 3 of them; expected a list of 2"),
    "weights one": ({"weights": 1}, "weights: 1 (int); expected a list of 2"),
    "weights null": ({"weights": None}, "weights: nothing; expected a list of 2"),
    "negative weight": ({"weights": [1, -1]}, "weights: 'Tails' weighs -1 (int); expected"),
    "zero weights": ({"weights": [0, 0]}, "weights: 'Heads' weighs 0 (int); expected"),
    "true weight": ({"weights": [1, True]}, "weights: 'Tails' weighs True (bool); expected"),
    "weight a text": ({"weights": [1, "1"]}, "weights: 'Tails' weighs '1' (str); expected"),
    "weight a list": ({"weights": [1, [1]]}, "weights: 'Tails' weighs a list; expected"),
    "large weight": ({"weights": [1, 10**400]}, "weights: 'Tails' weighs 1000"),
    "vanishing weight": ({"weights": [1e-300, 1e300]}, "weights: 'Heads' weighs 0.0"),
    "response null": ({"response": None}, "response: nothing; expected text"),
    "response a number": ({"response": [1]}, "response: 1 (int); expected text"),
    "response an object": ({"response": {}}, "response: an empty mapping; expected text"),
    "no response in list": ({"response": []}, "response: an empty list; expected text, or a list"),
    "repeated response": ({"response": ["A", "A"]}, "response: 'A' appears twice; expected"),
    "brace in response": ({"response": ["{"]}, "response: '{' holds a brace; expected none"),
    "eos a number": ({"eos": 1}, "eos: 1 (int); expected true or false"),
    "eos null": ({"eos": None}, "eos: nothing; expected true or false"),
}


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_a_bad_entry_is_refused_in_one_line_that_names_its_key(tmp_path, case):
    changes, expected = BAD_ENTRIES[case]
    path = coin(tmp_path, **changes)
    path.write_text(path.read_text("utf-8").replace('"HALF"', '["{\\ud800}"]'), "utf-8")
    line = refusal(load_task, path)
    assert line.startswith(f"{path}: ")
    assert expected in line


WHOLE = json.dumps(COIN)
BAD_FILES = {
    "empty": ("", "line 1: Expecting value; expected JSON"),
    "cut off": (WHOLE[:-1], "line 1: Expecting ',' delimiter; expected JSON"),
    "two objects": (f"{WHOLE}\n{WHOLE}", "line 2: Extra data; expected JSON"),
    "line break in text": ('{"request": "a\nb"}', "line 1: Invalid control character at"),
    "byte order mark": (f"\ufeff{WHOLE}", "line 1: Unexpected UTF-8 BOM"),
    "a list": (f"[{WHOLE}]", "a list; expected a mapping of request, response, targets"),
    "a text": ('"Flip."', "'Flip.' (str); expected a mapping of request"),
    "null": ("null", "nothing; expected a mapping of request"),
    "repeated key": ('{"eos": true, "eos": true}', "'eos' appears twice; expected distinct keys"),
    "repeated key inside": ('{"eos": {"a": 1, "a": 1}}', "'a' appears twice; expected distinct"),
    "NaN": ('{"weights": [NaN]}', "NaN; expected a number"),
    "Infinity": ('{"weights": [-Infinity]}', "-Infinity; expected a number"),
    "beyond a float": (WHOLE[:-1] + ', "weights": [1, 1e999]}', "'Tails' weighs inf (float)"),
    "endless digits": (
        f'{{"weights": [1{"0" * 5000}]}}',
        "not JSON of a prompt: Exceeds the limit",
    ),
    "bottomless list": ("[" * 10**7, "not JSON of a prompt: maximum recursion depth"),
    "bottomless object": ('{"a":' * 10**6, "not JSON of a prompt: maximum recursion depth"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_is_no_prompt_is_refused_in_one_line(tmp_path, case):
    written, expected = BAD_FILES[case]
    path = write(tmp_path / "coin.json", written)
    line = refusal(load_task, path)
    assert line.startswith(f"{path}: ")
    assert expected in line


def test_unreadable_and_badly_named_files_are_refused_in_one_line(tmp_path):
    latin = tmp_path / "latin.json"
    latin.write_bytes('{"request": "Zoë"}'.encode("latin-1"))
    folder = tmp_path / "folder.json"
    folder.mkdir()
    coins = write(tmp_path / "coins" / "My_Coin.json", COIN)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "gone.json").symlink_to(tmp_path / "nowhere")
    bad_name = coin(tmp_path / "My Coins").parent
    for path, expected in (
        (tmp_path / "gone.json", "gone.json: no such file; expected a JSON file"),
        (tmp_path / "links", "gone.json: no such file"),
        (latin, "latin.json: not UTF-8 text"),
        (folder, "the folder's name: 'folder.json' (str); expected lower-case"),
        (coins, "the file's name: 'My_Coin' (str); expected lower-case"),
        (coins.parent, "My_Coin.json: the file's name: 'My_Coin' (str); expected lower-case"),
        (bad_name, "the folder's name: 'My Coins' (str); expected lower-case"),
    ):
        assert expected in refusal(load_task, path)
