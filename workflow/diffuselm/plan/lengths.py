"""Targets longer than an answer may be: refused while that costs nothing, not after a training."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from diffuselm.config.models import ModelSettings
from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json
from diffuselm.files.provenance import file_hash
from diffuselm.plan.plan import Plan
from diffuselm.tasks.prompts import Prompt

AROUND = 5  # tokens at most of both braces, the end and a space on either side
CHECKED = 20  # of a task's targets, those of the most bytes


def may_not_fit(plan: Plan) -> dict[str, int]:
    """Targets that may have more tokens than an answer of their task, and that number.

    A token holds a byte at least: of a task's targets, only those with more bytes than an answer
    may have tokens are looked at, the longest few of them.
    """
    found: dict[str, int] = {}
    for task, prompts in (*plan.prompts.items(), *plan.outside.items()):
        given = {t for p in prompts if p.targets and p.fields == 1 for t in _texts(p)}
        longest = sorted(given, key=lambda text: (-len(text.encode()), text))[:CHECKED]
        most = plan.longest[task]
        long = (text for text in longest if len(text.encode()) + AROUND > most)
        found |= {text: min(most, found.get(text, most)) for text in long}
    return found


def _texts(prompt: Prompt) -> Iterable[str]:
    """Its targets, in all spellings."""
    return chain(*prompt.reading.spellings.values()) if prompt.reading else prompt.targets.texts


def check_lengths(plan: Plan, origin: str) -> None:
    """Raise InputError where a target does not fit, for models whose tokenizer is on disk.

    The stage `record` counts the same ones exactly, as the chat template writes the answer, and for
    all models.
    """
    targets = may_not_fit(plan)
    folders = {name: _folder(name, model) for name, model in plan.config.models.items()}
    files = {name: folder / "tokenizer.json" for name, folder in folders.items() if folder}
    known = {name: file for name, file in files.items() if targets and file.is_file()}
    # A large tokenizer takes a second to read, and models of a family have the same.
    by_content: dict[str, dict[str, int]] = {}
    for name, file in known.items():
        content = file_hash(file)
        if content not in by_content:
            by_content[content] = _counted(file, targets)
        for text, tokens in by_content[content].items():
            check_length(text, tokens, targets[text], f"{origin}: models.{name}")


def _counted(file: Path, texts: Iterable[str]) -> dict[str, int]:
    """Tokens of each text in braces; none where the library has no class for the tokenizer."""
    from tokenizers import Tokenizer  # takes a moment, which few configs need

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # the stage `record` names the file
        return {}
    return {
        text: len(tokenizer.encode(f"{{{text}}}", add_special_tokens=False).ids) for text in texts
    }


def check_length(text: str, tokens: int, most: int, where: object) -> None:
    """Raise InputError where a target's tokens are more than an answer may have."""
    if tokens > most:
        raise InputError(
            f"{where}: {text!r} has {tokens} tokens of this model; expected at most the {most} of "
            "an answer: set sample.max_tokens_of, or the task's max_tokens"
        )


def _folder(name: str, model: ModelSettings) -> Path | None:
    """Where a model's files are, as far as they were fetched or converted."""
    if model.path or model.gguf:
        return model.path or Path(f"results/converted/{name}")
    fetched = Path(f"results/downloads/{name}.json")
    return Path(str(read_json(fetched).get("path"))) if fetched.is_file() else None
