"""Files that others published: read as they are, or refused in one line that names the place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffuselm.config.outside import OutsideSettings
from diffuselm.errors import InputError
from diffuselm.tasks.outside import read_outside, write_outside
from diffuselm.tasks.readings import Reading, folded
from diffuselm.tasks.target_sets import read_prompts

COVERAGE = {
    "Name a park.": {
        "answers": [["Glacier", "Glacier Park "], ["Zion"], ["zion.", "Zion Park"], ["Big Bend"]],
        "category": "park",
    },
    "Name a planet.": {"answers": [["Earth", "the Earth"], "Mars"]},
    "Name a day.": ["Monday", ["Tuesday", "Tue"]],
}
PROMPTS = ["Pick a fruit.", "Flip a coin.\n\nNow!"]


@pytest.fixture
def read(tmp_path):
    """Read a file of this text, by default as JSON, under settings."""

    def of(content, name="file.json", **settings):
        path = tmp_path / name
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        path.write_text(text, "utf-8")
        return read_outside("mine", OutsideSettings(file=path, **settings))

    return of


def test_questions_with_answers_keep_their_order_and_text_and_are_numbered(read):
    prompts = read(COVERAGE)
    assert [prompt.id for prompt in prompts] == ["mine/1", "mine/2", "mine/3"]
    assert [prompt.text for prompt in prompts] == list(COVERAGE)
    planet, day = prompts[1:]
    assert planet.targets.texts == ("Earth", "Mars")
    assert planet.targets.weights == (0.5, 0.5)
    assert planet.reading.spellings["Earth"] == ("Earth", "the Earth")
    assert day.targets.texts == ("Monday", "Tuesday")


def test_answers_that_share_a_spelling_are_one_and_the_file_says_so_once(read, caplog):
    park = read(COVERAGE)[0]
    assert park.reading.spellings == {
        "Glacier": ("Glacier", "Glacier Park"),
        "Zion": ("Zion", "zion.", "Zion Park"),
        "Big Bend": ("Big Bend",),
    }
    [line] = caplog.messages
    assert line.endswith("count as one with it: 1, the first to 'Name a park.'")


def test_an_answer_that_shares_one_with_two_joins_all_three(read):
    [prompt] = read({"Q?": [["a", "b"], ["c"], ["d"], ["B", "C"]]})
    assert prompt.reading.spellings == {"a": ("a", "b", "c", "B", "C"), "d": ("d",)}


def test_prompts_alone_have_no_targets_whether_a_line_each_or_in_a_list(read):
    lines = "".join(json.dumps({"id": f"x-{text}", "prompt": text}) + "\n" for text in PROMPTS)
    for prompts in (read(PROMPTS), read(f"\n{lines}\n", "file.jsonl")):
        assert [prompt.text for prompt in prompts] == PROMPTS
        assert [prompt.id for prompt in prompts] == ["mine/1", "mine/2"]
        assert {prompt.targets.texts for prompt in prompts} == {()}
        assert [p.reading for p in prompts] == [Reading(whole=True, spellings={})] * 2


def test_a_sentence_may_stand_after_each_prompt_and_braces_may_be_asked_for(read):
    [first, _] = read(PROMPTS, after_prompt="Use {braces}.", whole_answers=False)
    assert first.text == "Pick a fruit. Use {braces}."
    assert not first.reading.whole


def test_later_stages_read_what_was_written(read, tmp_path):
    for content in (COVERAGE, PROMPTS):
        prompts, out = read(content), tmp_path / "targets/mine.parquet"
        write_outside(task="mine", settings=OutsideSettings(file=tmp_path / "file.json"), out=out)
        again = read_prompts([out])
        assert [p.model_dump() for p in again] == [p.model_dump() for p in prompts]
        assert [p.targets for p in again] == [p.targets for p in prompts]


BAD = {
    "no file": (None, "no such file; expected a JSON file"),
    "nothing": ("", "not JSON"),
    "no questions": ("{}", "no prompts; expected"),
    "no prompts": ("[]", "no prompts; expected"),
    "a number": ("7", ": 7; expected an object of questions"),
    "a question twice": ('{"Q?": ["a"], "Q?": ["b"]}', "'Q?' appears twice"),
    "a prompt twice": ('["P", "O", "P"]', "prompt 3: 'P' stands twice"),
    "a prompt that is none": ('["P", 7]', "prompt 2: 7; expected the text of a prompt"),
    "a blank prompt": ('["P", " "]', "prompt 2: ' '; expected the text of a prompt"),
    "half a pair": (r'["\ud800"]', "not JSON"),
    "no answers": ('{"Q?": []}', "'Q?': []; expected a list of answers, one or more"),
    "null answers": ('{"Q?": null}', "'Q?': (); expected a list of answers, one or more"),
    "answers under another key": ('{"Q?": {"gold": ["a"]}}', "'Q?': {'gold': ['a']}; expected"),
    "one text": ('{"Q?": "a"}', "'Q?': 'a'; expected a list of answers"),
    "no alias": ('{"Q?": ["a", []]}', "'Q?': answer 2: no text; expected one or more"),
    "an answer that is none": ('{"Q?": ["a", [7]]}', "'Q?': answer 2: 7; expected text"),
    "a blank answer": ('{"Q?": [" "]}', "'Q?': answer 1: ' '; expected text"),
    "marks alone": ('{"Q?": ["..."]}', "'Q?': answer 1: '...'; expected text"),
    "a brace": ('{"Q?": ["{a}"]}', "'Q?': '{a}' holds a brace"),
    "two lines": (r'{"Q?": ["a\nb"]}', r"'Q?': 'a\nb'; expected one line"),
}  # fmt: skip
BAD_LINES = {
    "no lines": ("", "no prompts; expected"),
    "a line cut short": ('{"prompt": "P"}\n{"prompt": "O', "line 2: not JSON"),
    "no prompt": ('{"prompt": "P"}\n\n{"text": "O"}', "line 3: {'text': 'O'}; expected an object"),
    "a bare text": ('"P"', "line 1: 'P'; expected an object with a prompt"),
    "a prompt twice": ('{"prompt": "P"}\n{"prompt": "P"}', "line 2: 'P' stands twice"),
    "no text": ('{"prompt": null}', "line 1: None; expected the text of a prompt"),
}


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [*(("f.json", *each) for each in BAD.values()), *(("f.jsonl", *e) for e in BAD_LINES.values())],
    ids=[*BAD, *(f"lines: {name}" for name in BAD_LINES)],
)
def test_what_does_not_fit_is_one_line_that_names_the_file_and_the_place(
    tmp_path, name, content, found
):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as refused:
        read_outside("mine", OutsideSettings(file=path))
    line = str(refused.value)
    assert line.startswith(f"{path}: ")
    assert found in line
    assert "expected" in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["Big Bend", " big bend", "BIG BEND.", "Big Bend !\n", "big bend…", "Big Bend.\t. "]
)
def test_case_spaces_around_and_marks_at_the_end_make_no_other_answer(text):
    assert folded(text) == "big bend"
    reading = Reading(whole=True, spellings={"BB": ("BB", "Big Bend")})
    assert reading.answer(text) == "BB"


def test_other_texts_are_other_answers():
    reading = Reading(whole=True, spellings={"Big Bend": ("Big Bend",)})
    assert reading.answer("A big bend.") == "a big bend"
    assert reading.answer("C#") == "c#"
    assert reading.answer("...") is None
    assert reading.answer(None) is None


@given(st.text())
def test_folding_again_changes_nothing_but_case_that_case_makes(text):
    once = folded(text)
    assert folded(once).casefold() == folded(once)
    assert once == once.rstrip()
