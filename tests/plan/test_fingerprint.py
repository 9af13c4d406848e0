"""Fingerprints: results go stale when code that computes numbers changes, and only then."""

import shutil

import pytest

from diffuselm.plan import fingerprint as module
from diffuselm.plan.fingerprint import fingerprint

LOSS = """\"\"\"A module.\"\"\"

import logging

from diffuselm.tree.node import build

log = logging.getLogger(__name__)


def loss(x):
    \"\"\"Twice as much.\"\"\"
    if x < 0:
        raise ValueError(f"found {x}; expected more")
    log.warning("as it is")
    return build(x) * 2
"""
FILES = {
    "tree/loss.py": LOSS,
    "tree/node.py": "def build(x):\n    return x + 3\n",
    "files/columns.py": "NAMES = ('a', 'b')\n",
    "paper/card.py": "TEMPLATE = 'card.md.jinja'\n",
    "paper/templates/card.md.jinja": "# {{ name }}\n",
    "stages/tune.py": "from diffuselm.tree.loss import loss\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package, in place of our own."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(module, "PACKAGE", tmp_path)
    module._syntax.cache_clear()
    yield tmp_path
    module._syntax.cache_clear()


def after(package, name, old, new):
    """The fingerprint of the tree once a file is changed."""
    text = (package / name).read_text()
    assert old in text
    (package / name).write_text(text.replace(old, new))
    module._syntax.cache_clear()
    return fingerprint("tree")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tree/node.py", "def build", "# a comment\n\n\ndef build"),
        ("tree/node.py", "x + 3", "(\n        x\n        + 3\n    )  # why"),
        ("tree/loss.py", "Twice", "Thrice"),
        ("tree/loss.py", "expected more", "expected 0 or more"),
        ("tree/loss.py", 'log.warning("as it is")', 'log.info("fine")'),
        ("files/columns.py", "'a'", "'c'"),
        ("stages/tune.py", "import loss", "import loss as eq_5"),
    ],
)
def test_messages_comments_and_what_is_above_the_folder_change_nothing(package, name, old, new):
    before = fingerprint("tree")
    assert after(package, name, old, new) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tree/node.py", "x + 3", "x + 4"),
        ("tree/node.py", "x + 3", "3 + x"),
        ("tree/loss.py", "* 2", "* 2.0"),
        ("tree/loss.py", "x < 0", "x < 1"),
        ("tree/loss.py", "def loss(x)", "def loss(x=1)"),
    ],
)
def test_a_change_of_code_counts(package, name, old, new):
    before = fingerprint("tree")
    assert after(package, name, old, new) != before


def test_a_renamed_and_a_new_module_count(package):
    found = [fingerprint("tree")]
    (package / "tree/node.py").rename(package / "tree/knot.py")
    found.append(fingerprint("tree"))
    (package / "tree/more.py").write_text("A = 1\n")
    found.append(fingerprint("tree"))
    assert len(set(found)) == 3


def test_a_template_counts_for_what_is_written_with_it(package):
    before = fingerprint("paper")
    after(package, "paper/templates/card.md.jinja", "#", "##")
    assert fingerprint("paper") != before


def test_a_single_module_can_be_named(package):
    before = fingerprint("tree/node")
    after(package, "tree/loss.py", "* 2", "* 3")
    assert fingerprint("tree/node") == before
    after(package, "tree/node.py", "+ 3", "+ 4")
    assert fingerprint("tree/node") != before


def test_tuning_depends_on_its_own_code_and_not_on_other_stages(tmp_path, monkeypatch):
    """On a copy of this package."""
    package = tmp_path / "diffuselm"
    shutil.copytree(module.PACKAGE, package)
    monkeypatch.setattr(module, "PACKAGE", package)
    module._syntax.cache_clear()
    tuning = ("tree", "model", "tuning")
    try:
        found = [fingerprint(*tuning)]
        others = ("sampling", "measure", "files", "paper", "stages")
        for folder in (*others, *tuning):
            with next((package / folder).glob("[a-z]*.py")).open("a") as file:
                file.write("\nADDED = 1\n")
            module._syntax.cache_clear()
            found.append(fingerprint(*tuning))
    finally:
        module._syntax.cache_clear()
    assert len(set(found[:6])) == 1
    assert len(set(found[5:])) == 4
