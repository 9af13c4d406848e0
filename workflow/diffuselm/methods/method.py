"""What a method is: an entry under `methods` in the config, whose `kind` names a file here."""

from collections.abc import Mapping
from importlib import import_module
from inspect import getmembers, isclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from diffuselm.config.base import MOST, WHOLE, Count, Settings
from diffuselm.errors import InputError, quoted
from diffuselm.methods.replies import Read, read_value

if TYPE_CHECKING:  # plans read methods, and are read without torch
    import numpy as np
    from torch import Tensor

    from diffuselm.tasks.prompts import Prompt


class Method(Settings):
    """Settings of one kind; a subclass of one of the classes below, or of `Training`."""

    tasks: tuple[str, ...] | None = None
    """The tasks that it is measured on; by default all whose answers are one value."""

    @property
    def entry(self) -> dict[str, Any]:
        """The kind and its own settings, as jobs are given them: what changes a result."""
        planned = {"tasks", "draws", "max_tokens", "prompts", "settings"}
        own = self.model_dump(mode="json", exclude_defaults=True, exclude=planned)
        return {"kind": type(self).__module__.rpartition(".")[2].replace("_", "-"), **own}


class Decoding(Method):
    """Another distribution over the next token: exact on the tree, as it is drawn from."""

    def warp(self, logits: "Tensor") -> "Tensor":
        """(rows, vocabulary) logits of the next token, -inf where it may not be drawn."""
        raise NotImplementedError


class Prompting(Method):
    """Another prompt, which may differ from call to call, and its way to read a reply."""

    draws: Annotated[int, Field(ge=2, le=MOST), WHOLE] | None = None
    """Calls for each prompt, where long replies make fewer of them sensible."""
    max_tokens: Count | None = None
    """Longest reply in tokens, where it is longer than an answer."""

    def ask(self, prompt: "Prompt", rng: "np.random.Generator") -> str:
        """The text of one call."""
        raise NotImplementedError

    def value_of(self, reply: str, ended: bool, rng: "np.random.Generator") -> Read:
        """The value of a reply, and whether the reply keeps to the form that was asked for."""
        return read_value(reply, ended)


def read_method(entry: Mapping[str, Any], where: str) -> Method:
    """The method that an entry describes; raises InputError, naming kind and key, for any other."""
    kind = entry.get("kind")
    if kind not in (known := kinds()):
        raise InputError(f"{where}: kind {quoted(kind)}; expected one of {', '.join(known)}")
    module = import_module(f"diffuselm.methods.{str(kind).replace('-', '_')}")
    found = (each for _, each in getmembers(module, isclass) if each.__module__ == module.__name__)
    [settings] = (each for each in found if issubclass(each, Method))
    return settings.read({key: entry[key] for key in entry if key != "kind"}, where)


def code_of(method: Method) -> tuple[str, ...]:
    """The modules that what a method does depends on, as fingerprints name them."""
    classes = (each.__module__.split(".") for each in type(method).__mro__)
    own = {f"methods/{file}" for *folder, file in classes if folder == ["diffuselm", "methods"]}
    return "methods/replies", *sorted(own)


def kinds() -> list[str]:
    """The kinds that there are: the files beside this one that define a method."""
    others = {"__init__", "method", "replies", "training", "drawn"}
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [file.stem.replace("_", "-") for file in files if file.stem not in others]
