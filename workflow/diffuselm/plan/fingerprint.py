"""Which code a result depends on: a hash over whole folders of this package."""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


class _NumbersOnly(ast.NodeTransformer):
    """Takes out of a syntax tree what changes no number: docstrings, errors' texts, log lines."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        match node.value:
            case ast.Constant(str()) | ast.Call(ast.Attribute(ast.Name("log"))):
                return None
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise(exc=None, cause=None)


def fingerprint(*folders: str) -> str:
    """Hash the code of folders of this package, such as `tree`, or of single modules in them.

    Of the syntax trees: comments, docstrings, line breaks, log lines and the texts of errors make
    no result stale.
    """
    digest = hashlib.sha256()
    for path in sorted({path for folder in folders for path in _modules(folder)}):
        digest.update(f"{path.relative_to(PACKAGE)}\n{_syntax(path)}\n".encode())
    return digest.hexdigest()[:16]


def _modules(folder: str) -> list[Path]:
    path = PACKAGE / folder
    inside = [*path.glob("*.py"), *path.glob("templates/*")]
    return inside if path.is_dir() else [path.with_suffix(".py")]


@cache
def _syntax(path: Path) -> str:
    if path.suffix != ".py":
        return path.read_text(encoding="utf-8")
    return ast.dump(_NumbersOnly().visit(ast.parse(path.read_text(encoding="utf-8"))))
