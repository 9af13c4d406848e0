"""Which source a stage runs: a hash over its module and everything of ours that it imports."""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
SAYS_ONLY = {"progress"}  # they say how far a job is, and change no number


def fingerprint(module: str) -> str:
    """Hash the code below a module of this package, such as `stages.tune`.

    Of the syntax tree, without docstrings: a comment or a line break does not make results stale.
    """
    digest = hashlib.sha256()
    for name in sorted(_below(module)):
        digest.update(f"{name}\n{_syntax(name)[0]}\n".encode())
    return digest.hexdigest()[:16]


def _below(module: str) -> set[str]:
    """The module and all modules of this package that it imports, directly or not."""
    seen: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in seen | SAYS_ONLY:
            seen.add(name)
            pending.extend(_syntax(name)[1])
    return seen


@cache
def _syntax(module: str) -> tuple[str, tuple[str, ...]]:
    """The dumped syntax tree of a module, and the modules of this package that it names."""
    tree = ast.parse(_source(module).read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffuselm"):
            parent = (node.module or "").removeprefix("diffuselm").removeprefix(".")
            names = [f"{parent}.{alias.name}".removeprefix(".") for alias in node.names]
            imported |= {name for name in [parent, *names] if name and _exists(name)}
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [statement for statement in body if not _is_text(statement)]
    return ast.dump(tree), tuple(sorted(imported))


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(
        getattr(statement.value, "value", None), str
    )


def _source(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _exists(module: str) -> bool:
    return _source(module).is_file()
