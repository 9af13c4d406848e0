"""A random attribute in the prompt (AttrPrompt, Yu et al. 2023, arXiv 2306.15895)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator

from diffuselm.config.strict_files import read_yaml
from diffuselm.methods.method import Prompting
from diffuselm.tasks.prompts import task_of

if TYPE_CHECKING:
    import numpy as np

    from diffuselm.tasks.prompts import Prompt


def _from_file(found: object) -> object:
    return read_yaml(Path(found)) if isinstance(found, str) else found


class Attributes(Prompting):
    """Each call adds one sentence, chosen evenly; a task without attributes is asked as it is."""

    sentences: Annotated[dict[str, dict[str, tuple[str, ...]]], BeforeValidator(_from_file)]
    """By task or prompt, sentences with `<>` and what may stand there; or a YAML file of that."""

    def ask(self, prompt: "Prompt", rng: "np.random.Generator") -> str:
        pairs = [
            sentence.replace("<>", value)
            for sentence, values in self._of(prompt.id).items()
            for value in values
        ]
        return f"{prompt.text}\n\n{rng.choice(pairs)}" if pairs else prompt.text

    def _of(self, prompt: str) -> dict[str, tuple[str, ...]]:
        return self.sentences.get(prompt) or self.sentences.get(task_of(prompt), {})
