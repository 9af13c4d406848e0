"""The command line: one command per stage, and errors as one line."""

import logging
import sys
import warnings

import typer

from diffuselm import __version__
from diffuselm.commands import data, models, mt_bench, render  # noqa: F401 (they add commands)
from diffuselm.commands.shared import app
from diffuselm.errors import InputError, NonFiniteLossError


@app.command()
def schema() -> None:
    """Print the JSON schema of the config."""
    import json

    from diffuselm.config import Config

    typer.echo(json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run a command; bad input ends in one line on standard error and exit code 1."""
    # PEFT still asks transformers by an older name; nothing a user could act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        app()
    except (InputError, NonFiniteLossError) as error:
        sys.exit(f"error: {error}")
