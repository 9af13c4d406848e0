"""Command `score`: exact probabilities of a stand-in, and what is printed and refused."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from diffuselm.errors import InputError
from diffuselm.one_prompt.shown import escaped
from one_prompt_runs import MODEL, plain_log_probs, run, table

DIFFUSELM = Path(__file__).parents[2] / "workflow/bin/diffuselm"
PROMPT = "Roll a die."
ANSWERS = ["{7}", "{red}", "a longer answer, that is not likely"]
# Tokens that no model of plain text would write, in an answer and in a terminal.
HOSTILE = "[red]\x1b[31m\x07\u202egnp.exe\u2069[/red]"


def test_probabilities_are_those_of_plain_passes(listed, tmp_path, capsys):
    run("score", "--model", MODEL, "--prompt", PROMPT, "--answers", listed(*ANSWERS),
        "--out", tmp_path / "out.tsv")  # fmt: skip
    texts, columns = table(tmp_path / "out.tsv")
    assert texts == ANSWERS
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype="float32")
    expected = plain_log_probs(model, PROMPT, ANSWERS)
    np.testing.assert_allclose(columns["log_probability"], expected, atol=1e-3)
    np.testing.assert_allclose(columns["probability"], np.exp(expected), rtol=1e-3)
    printed = capsys.readouterr().out
    mass = np.exp(expected).sum()
    assert re.search(rf"target mass +{mass:.4f} +1\.0000", printed)
    entropy = -sum(p / mass * np.log(p / mass) for p in np.exp(expected) if p)
    assert re.search(rf"entropy +{entropy:.4f} +{np.log(3):.4f}", printed)
    divergence = -np.log(3) - expected.mean()
    assert re.search(rf"KL divergence +{divergence:.3f}\d +0\.0000", printed)


def test_spellings_add_to_an_answer_and_their_bound_is_written(listed, tmp_path, capsys):
    run("score", "--model", MODEL, "--prompt", PROMPT, "--answers", listed("{7}", "{red}"),
        "--spellings", "--out", tmp_path / "out.tsv")  # fmt: skip
    _, columns = table(tmp_path / "out.tsv")
    assert (columns["all_spellings"] >= columns["probability"]).all()
    assert (columns["all_spellings_at_most"] >= columns["all_spellings"]).all()
    assert "beginnings below 1e-06 were not followed" in capsys.readouterr().out


def test_ten_are_printed_and_all_are_written(listed, tmp_path, capsys):
    answers = [f"{{{number}}}" for number in range(1, 31)]
    run("score", "--model", MODEL, "--prompt", PROMPT, "--answers", listed(*answers),
        "--out", tmp_path / "out.tsv")  # fmt: skip
    printed = capsys.readouterr().out
    shown = re.findall(r"^(\{\d+\}) +\d", printed, re.MULTILINE)
    texts, columns = table(tmp_path / "out.tsv")
    assert texts == answers
    likeliest = np.argsort(-columns["probability"], kind="stable")[:10]
    assert shown == [answers[number] for number in likeliest]
    assert "and 20 more" in printed
    assert "█" in printed


def test_where_little_is_in_the_list_what_is_said_instead_is_shown(listed, capsys):
    run("score", "--model", MODEL, "--prompt", "Roll a die, {x}.", "--answers", listed("no"))
    printed = capsys.readouterr().out
    assert re.search(r"of 100 drawn, 100 others +times\n", printed)
    assert re.search(r"^\{\w+\} +[1-9]\d*$", printed, re.MULTILINE)


def test_a_plot_is_written_and_the_same_bytes_again(listed, tmp_path):
    answers = listed("{7}", "$x$ {red}", HOSTILE)
    for name in ("a.png", "b.png"):
        run("score", "--model", MODEL, "--prompt", PROMPT, "--answers", answers,
            "--plot", tmp_path / name)  # fmt: skip
    first, second = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first.startswith(b"\x89PNG")
    assert first == second


def test_nothing_in_an_answer_reaches_the_terminal_but_as_text(listed, capsys):
    run("score", "--model", MODEL, "--prompt", PROMPT, "--answers", listed(HOSTILE, "{7}"))
    printed = capsys.readouterr().out
    assert r"[red]\x1b[31m\x07\u202egnp.exe\u2069[/r…" in printed
    assert all(c.isprintable() or c == "\n" for c in printed)


def test_escapes_are_of_what_is_not_seen_alone():
    assert escaped("São Tomé, 日本") == "São Tomé, 日本"
    assert escaped("a\nb\tc\u2028d\xa0e\ufeff") == r"a\nb\tc\u2028d\xa0e\ufeff"


@pytest.mark.parametrize("command", ["score", "diffuse"])
def test_the_help_shows_an_example_and_what_the_answers_are(command):
    """As a process: what help shows depends on its own command line."""
    shown = subprocess.run(
        [sys.executable, DIFFUSELM, command, "--help"], capture_output=True, text=True, check=True
    )
    printed = " ".join(shown.stdout.split())
    assert f'diffuselm {command} --model Qwen/Qwen3-0.6B --prompt "Pick a colour."' in printed
    assert "An answer is the model's whole turn" in printed


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"--prompt": " "}, "--prompt: no text; expected what the model is asked"),
        ({"--prompt": "a\udcff"}, "--prompt: .* is not UTF-8 text; expected"),
        ({"--model": "models/no/such"}, "--model: no folder or file models/no/such; expected"),
        ({"--model": "no.gguf"}, "--model: no folder or file no.gguf; expected"),
        ({"--model": __file__}, "test_score.py: not a GGUF file; expected one"),
        ({"--revision": "main"}, "--revision: .*tiny-llama is on this disk; expected"),
        ({"--plot": "out.jpg"}, "--plot: out.jpg; expected a name that ends in .png or .pdf"),
        ({"--answers": "no.txt"}, "no.txt: no such file; expected"),
        ({"--adapter": "no"}, "no: not a usable adapter"),
        ({"--chat-template": "no.jinja"}, "No such file"),
    ],
)
def test_what_cannot_be_scored_is_one_line(changes, problem, listed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = {"--model": MODEL, "--prompt": PROMPT, "--answers": listed("{7}"), "--out": "out.tsv"}
    words |= changes
    with pytest.raises((InputError, OSError), match=problem) as error:
        run("score", *(word for pair in words.items() for word in pair))
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["colours.txt"]


def test_a_model_folder_that_is_not_whole_is_one_line(listed, tmp_path):
    folder = shutil.copytree(MODEL, tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match=r"no chat template; .* chat_template set"):
        run("score", "--model", folder, "--prompt", PROMPT, "--answers", listed("{7}"))
