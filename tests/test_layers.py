"""The plan of the house: each folder of the package imports from those below it alone."""

import ast
from pathlib import Path

import diffuselm

PACKAGE = Path(diffuselm.__file__).parent
# From the top down; beside the folders, some modules are for all.
LAYERS = (
    "warm", "cli", "one_prompt", "stages", "stand_in", "plan", "paper", "measure", "sampling",
    "tuning", "methods", "model", "tasks", "tree", "files", "config",
)  # fmt: skip
FOR_ALL = {"errors", "progress", "last_words"}


def imported(path):
    """The folders of this package that a module imports from."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffuselm."):
            yield node.module.split(".")[1]


def layer_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_no_folder_imports_from_one_above_it():
    upward = [
        f"{path.relative_to(PACKAGE)} imports {other}"
        for path in PACKAGE.rglob("*.py")
        if path.parent != PACKAGE or layer_of(path) in LAYERS
        for other in imported(path)
        if other not in FOR_ALL and LAYERS.index(other) < LAYERS.index(layer_of(path))
    ]
    assert upward == []


def test_the_method_knows_nothing_of_files_and_tables():
    drawing = [
        PACKAGE / f"sampling/{name}.py" for name in ("answers", "tree_sampling", "shared_prompt")
    ]
    for path in (*PACKAGE.glob("tree/*.py"), *drawing):
        code = path.read_text(encoding="utf-8")
        assert not {"pandas", "pathlib", "snakemake", "open("} & set(code.split()), path
        assert set(imported(path)) <= {"tree", "sampling", "errors"}, path
