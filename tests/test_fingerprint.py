"""Fingerprints: results go stale when the code below a stage changes, and only then."""

import shutil
from pathlib import Path

import pytest

from diffuselm import fingerprint as module
from diffuselm.fingerprint import fingerprint

FILES = {
    "__init__.py": '"""A package."""\n',
    "stages/__init__.py": "",
    "stages/tune.py": (
        '"""A stage."""\n\nfrom diffuselm.objective import loss\n\n\ndef run():\n'
        '    """Run it."""\n    return loss(1)\n'
    ),
    "stages/render.py": "from diffuselm import contracts\n\nNAMES = contracts.NAMES\n",
    "objective.py": (
        "from diffuselm.prefix_tree import build\n\n\ndef loss(x):\n    return build(x) * 2\n"
    ),
    "prefix_tree.py": "def build(x):\n    return x + 3\n",
    "contracts.py": "NAMES = ('a', 'b')\n",
    "claims.py": "LIMIT = 4\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package of two stages, in place of our own."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(module, "PACKAGE", tmp_path)
    module._syntax.cache_clear()
    yield tmp_path
    module._syntax.cache_clear()


def after(package, name, old, new):
    """The fingerprint of the stage once a file is changed."""
    text = (package / name).read_text()
    assert old in text
    (package / name).write_text(text.replace(old, new))
    module._syntax.cache_clear()
    return fingerprint("stages.tune")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("prefix_tree.py", "def build", "# a comment\n\n\ndef build"),
        ("prefix_tree.py", "x + 3", "(\n        x\n        + 3\n    )  # why"),
        ("prefix_tree.py", "def build(x):\n", 'def build(x):\n    """Now with a docstring."""\n'),
        ("objective.py", "from", '"""Now with a docstring."""\n\nfrom'),
        ("stages/tune.py", '"""Run it."""', '"""Run it well."""'),
        ("stages/tune.py", '"""A stage."""\n', ""),
    ],
)
def test_comments_docstrings_and_line_breaks_change_nothing(package, name, old, new):
    before = fingerprint("stages.tune")
    assert after(package, name, old, new) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stages/tune.py", "loss(1)", "loss(2)"),
        ("objective.py", "* 2", "* 2.0"),
        ("prefix_tree.py", "x + 3", "x + 4"),
        ("prefix_tree.py", "x + 3", "3 + x"),
        ("objective.py", "def loss(x)", "def loss(x=1)"),
    ],
)
def test_a_change_of_code_counts_however_far_below_it_is_imported(package, name, old, new):
    before = fingerprint("stages.tune")
    assert after(package, name, old, new) != before


@pytest.mark.parametrize(("name", "old"), [("contracts.py", "'a'"), ("claims.py", "4")])
def test_a_module_that_the_stage_does_not_import_does_not_count(package, name, old):
    before = fingerprint("stages.tune")
    assert after(package, name, old, "7") == before


def test_a_module_imported_by_name_from_the_package_counts(package):
    before = fingerprint("stages.render")
    after(package, "contracts.py", "'a'", "'c'")
    assert fingerprint("stages.render") != before


def test_an_import_inside_a_function_counts(package):
    """Stages import torch and its users late, so that the command line starts fast."""
    late = "    from diffuselm import claims\n\n    return"
    before = after(package, "prefix_tree.py", "    return", late)
    assert after(package, "claims.py", "4", "5") != before


def test_modules_that_import_each_other_are_read_once(package):
    after(package, "prefix_tree.py", "def", "from diffuselm import objective\n\n\ndef")
    assert len(fingerprint("stages.tune")) == 16


def test_a_renamed_module_counts(package):
    before = fingerprint("stages.tune")
    (package / "prefix_tree.py").rename(package / "tree.py")
    assert after(package, "objective.py", "diffuselm.prefix_tree", "diffuselm.tree") != before


def test_tuning_does_not_go_stale_with_metrics_but_does_with_its_own_code(tmp_path, monkeypatch):
    """On a copy of this package."""
    package = tmp_path / "diffuselm"
    shutil.copytree(Path(module.__file__).parent, package)
    monkeypatch.setattr(module, "PACKAGE", package)
    module._syntax.cache_clear()
    try:
        found = [fingerprint("stages.tune")]
        for changed in ("metrics.py", "prefix_tree.py", "objective.py", "chat.py", "contracts.py"):
            with (package / changed).open("a") as file:
                file.write("\nADDED = 1\n")
            module._syntax.cache_clear()
            found.append(fingerprint("stages.tune"))
    finally:
        module._syntax.cache_clear()
    assert found[1] == found[0]
    assert len(set(found)) == 5
