"""A list of answers, as a person writes it."""

import pytest


@pytest.fixture
def listed(tmp_path):
    def write(*lines):
        path = tmp_path / "colours.txt"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return write
