"""A file of answers: what is read of it, and one line where it is none."""

import numpy as np
import pytest

from diffuselm.errors import InputError
from diffuselm.one_prompt.answer_files import read_answers, write_columns


@pytest.fixture
def listed(tmp_path):
    def write(content):
        path = tmp_path / "list.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_an_answer_is_its_line_as_it_is(listed):
    answers = read_answers(listed("red\n[b]{blue}[/b]\ndark\u2028green\né, or e"))
    assert answers.texts == ("red", "[b]{blue}[/b]", "dark\u2028green", "é, or e")
    assert answers.weights == (0.25,) * 4


def test_weights_are_shares_of_their_sum(listed):
    answers = read_answers(listed("red\t3\nblue\t.5e1\n".replace(".5", "0.5")))
    np.testing.assert_allclose(answers.weights, [3 / 8, 5 / 8])


def test_what_windows_editors_write_is_read_too(listed):
    assert read_answers(listed(b"\xef\xbb\xbfred\r\nblue\r\n")).texts == ("red", "blue")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "empty; expected an answer a line"),
        ("red\n\nblue\n", "line 2: blank; expected an answer a line"),
        ("red\n  \n", "line 2: blank; expected"),
        ("red\n\n", "line 2: blank; expected"),
        ("red\n blue\n", "line 2: ' blue'; expected no spaces around an answer"),
        ("red\nblue\nred\n", "line 3: 'red' is on line 1 too; expected distinct answers"),
        ("red\t3\nblue\n", "line 2: no weight, and line 1 has one; expected"),
        ("red\nblue\t3\n", "line 2: a weight, and line 1 has none; expected"),
        ("red\t3\n\t4\n", "line 2: no answer; expected"),
        *(
            (f"red\t1\nblue\t{weight}\n", f"line 2: weight {weight!r}; expected a finite number")
            for weight in ("", "0", "-1", "nan", "inf", "1e999", "1_000", "٣", "3\t4", "three")
        ),
        ("red\t1e308\nblue\t1e-300\n", "'blue' weighs 0.0; expected a finite positive number"),
        (b"r\xe9d\n", "not readable as UTF-8 text"),
    ],
)
def test_what_is_no_list_is_one_line_that_names_the_line(listed, content, problem):
    path = listed(content)
    with pytest.raises(InputError) as error:
        read_answers(path)
    assert str(error.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"no\.txt: no such file; expected an answer a line"):
        read_answers(tmp_path / "no.txt")


def test_numbers_come_back_as_they_were_written(tmp_path):
    values = np.array([0.1 + 0.2, 1e-300])
    write_columns(tmp_path / "out.tsv", ["=1+1", "a\u2028b"], {"p": values})
    head, *lines = (tmp_path / "out.tsv").read_text("utf-8").removesuffix("\n").split("\n")
    assert head == "answer\tp"
    assert [line.split("\t")[0] for line in lines] == ["=1+1", "a\u2028b"]
    assert [float(line.split("\t")[1]) for line in lines] == values.tolist()
