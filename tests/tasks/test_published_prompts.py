"""Prompt files of the paper's authors' form: read to the letter, or refused in one line."""

import json
import math
from pathlib import Path

import pytest

from diffuselm.config.config import PAPER_TASKS
from diffuselm.errors import InputError
from diffuselm.files.schemas import TARGETS
from diffuselm.files.tables import read_table
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.target_sets import write_targets
from diffuselm.tasks.task_files import load_task, task_inputs, task_name, task_paths
from diffuselm.tasks.texts import TargetSet

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
NAMES = TargetSet.of(("Ann", "Bo", "Zoë"))  # their file holds names where ours draws them
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
    prompts = [prompt for task in PAPER_TASKS for prompt in load_task(TASKS / f"{task}.yaml")]
    return {p.id: Prompt(id=p.id, text=p.text, targets=p.targets or NAMES) for p in prompts}


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
        (task_paths, "no *.json files in it; expected one task's prompt files, or a folder"),
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
    assert refusal(load_task, tmp_path / "numbers").startswith(
        f"{tmp_path / 'numbers' / 'rng-0.json'}: prompt '1-10' is in another file too"
    )


def test_a_file_without_targets_only_goes_with_one_of_the_same_request(published):
    people = published / "ficticious-people"
    [prompt] = load_task(people)
    assert prompt.id == "biographies/sketch"
    alone = people / "ficticious-people.json"
    write(alone, COIN | {"targets": []})
    for path in (people, alone):
        assert refusal(load_task, path).startswith(f"{alone}: no targets; expected")


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
    assert prompt.targets == TargetSet(texts, (0.5, 0.5))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"eos": True}, "eos: found True; expected False"),
        ({"targets": ["{Ada}"]}, "targets.0: '{Ada}'; expected 4 lines of one braced value"),
        ({"targets": [f"{PERSONS[0]}\n{{Poet}}"]}, "expected 4 lines of one braced value"),
        ({"targets": [PERSONS[0].replace("\n", "\r\n")]}, "expected one value between braces"),
        ({"targets": [PERSONS[0].replace("{Female}", "Female")]}, "targets.0: 'Female'; expected"),
        ({"targets": [PERSONS[0].replace("Female", " ")]}, "targets.0: ' '; expected one line"),
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
        assert prompt.targets == TargetSet.of(["Heads", "Tails"])


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
        write_targets(task=path, natural=None, seed=1, out=out)
        rows = read_table(out, TARGETS).to_pylist()
        read[name] = sorted(rows, key=lambda row: row["prompt"])
    assert read["ours"] == read["theirs"]
    write_targets(task=published / "baby-names", natural=None, seed=1, out=out)
    rows = read_table(out, TARGETS).to_pylist()
    assert [row["text"] for row in rows] == list(NAMES.texts)


BAD_ENTRIES = {
    "no request": ({"request": ...}, "request: missing"),
    "no response": ({"response": ...}, "response: missing"),
    "no targets": ({"targets": ...}, "targets: missing"),
    "unknown key": ({"target": []}, "target: unknown key"),
    "request a list": ({"request": ["a"]}, "request: found ['a']; expected text"),
    "request a number": ({"request": 1}, "request: found 1; expected text"),
    "blank request": ({"request": " \n"}, "request: ' \\n'; expected text"),
    "targets a text": ({"targets": "{Heads}"}, "targets: found '{Heads}'; expected a list"),
    "targets an object": (
        {"targets": {"{Heads}": 1}},
        "targets: found {'{Heads}': 1};",
    ),
    "no target": ({"targets": []}, ": no targets; expected at least one"),
    "repeated target": (
        {"targets": ["{a}", "{a}"]},
        "'a' appears twice; expected",
    ),
    "target a number": ({"targets": [1]}, "targets.0: found 1; expected text"),
    "target null": ({"targets": [None]}, "targets.0: found None; expected text"),
    "no braces": ({"targets": ["Heads"]}, "targets.0: 'Heads'; expected one value between braces"),
    "two values": ({"targets": ["{a}{b}"]}, "targets.0: 'a}{b' holds a brace; expected none"),
    "two lines": ({"targets": ["{a}\n{b}"]}, "targets.0: 'a}\\n{b'; expected one line"),
    "space outside": ({"targets": ["{a} "]}, "targets.0: '{a} '; expected one value between"),
    "space inside": ({"targets": ["{ a}"]}, "targets.0: ' a'; expected one line of text"),
    "no value": ({"targets": ["{}"]}, "targets.0: ''; expected one line of text"),
    "nested": ({"targets": ["{{a}}"]}, "targets.0: '{a}' holds a brace; expected none"),
    "endless target": ({"targets": ["a" * 10**6]}, "aaa'; expected one value between braces"),
    "half a character": ({"targets": "HALF"}, "surrogates not allowed"),
    "weights short": ({"weights": [1]}, "2 targets, 1 weights; expected one each"),
    "weights long": ({"weights": [1, 1, 1]}, "2 targets, 3 weights; expected one each"),
    "weights one": ({"weights": 1}, "weights: found 1; expected a list"),
    "weights null": ({"weights": None}, "weights: found None; expected a list"),
    "negative weight": ({"weights": [1, -1]}, ": 'Tails' weighs -1; expected"),
    "zero weights": ({"weights": [0, 0]}, ": 'Heads' weighs 0; expected"),
    "true weight": ({"weights": [1, True]}, ": 'Tails' weighs True; expected"),
    "weight a text": ({"weights": [1, "1"]}, ": 'Tails' weighs '1'; expected"),
    "weight a list": ({"weights": [1, [1]]}, ": 'Tails' weighs [1]; expected"),
    "large weight": ({"weights": [1, 10**400]}, ": 'Tails' weighs 1000"),
    "vanishing weight": ({"weights": [1e-300, 1e300]}, ": 'Heads' weighs 0.0"),
    "response null": ({"response": None}, "response.0: found None; expected text"),
    "response a number": ({"response": [1]}, "response.0: found 1; expected text"),
    "response an object": ({"response": {}}, "response.0: found {}; expected text"),
    "no response in list": ({"response": []}, "response: found []; expected at least 1 item"),
    "repeated response": ({"response": ["A", "A"]}, "response: 'A' appears twice; expected"),
    "brace in response": ({"response": ["{"]}, "response: '{' holds a brace; expected none"),
    "eos a number": ({"eos": 1}, "eos: found 1; expected true or false"),
    "eos null": ({"eos": None}, "eos: found None; expected true or false"),
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
    "empty": ("", "not JSON: Expecting value: line 1"),
    "cut off": (WHOLE[:-1], "not JSON: Expecting ',' delimiter: line 1"),
    "two objects": (f"{WHOLE}\n{WHOLE}", "not JSON: Extra data: line 2"),
    "line break in text": ('{"request": "a\nb"}', "not JSON: Invalid control character at: line 1"),
    "byte order mark": (f"\ufeff{WHOLE}", "not JSON: Unexpected UTF-8 BOM"),
    "a list": (f"[{WHOLE}]", "found [{'request'"),
    "a text": ('"Flip."', "found 'Flip.'; expected a mapping"),
    "null": ("null", "found None; expected a mapping"),
    "repeated key": ('{"eos": true, "eos": true}', "'eos' appears twice; expected distinct keys"),
    "repeated key inside": ('{"eos": {"a": 1, "a": 1}}', "'a' appears twice; expected distinct"),
    "NaN": ('{"weights": [NaN]}', "NaN; expected a number"),
    "Infinity": ('{"weights": [-Infinity]}', "-Infinity; expected a number"),
    "beyond a float": (WHOLE[:-1] + ', "weights": [1, 1e999]}', "'Tails' weighs inf"),
    "endless digits": (
        f'{{"weights": [1{"0" * 5000}]}}',
        "not JSON: Exceeds the limit",
    ),
    "bottomless list": ("[" * 10**7, "not JSON: maximum recursion depth"),
    "bottomless object": ('{"a":' * 10**6, "not JSON: maximum recursion depth"),
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
        (latin, "latin.json: not readable as UTF-8 text"),
        (folder, "name of a task: 'folder.json'; expected lower-case"),
        (coins, "name of a task: 'My_Coin'; expected lower-case"),
        (coins.parent, "My_Coin.json: 'My_Coin'; expected lower-case"),
        (bad_name, "name of a task: 'My Coins'; expected lower-case"),
    ):
        assert expected in refusal(load_task, path)
