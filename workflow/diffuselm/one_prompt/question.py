"""What both commands ask: one model, one prompt, and the list of its answers."""

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from diffuselm.config.models import OpeningSettings
from diffuselm.errors import InputError, quoted
from diffuselm.model.chat import ChatFormat
from diffuselm.model.encoding import EncodedPrompt
from diffuselm.one_prompt.answer_files import read_answers
from diffuselm.one_prompt.models import open_named
from diffuselm.one_prompt.scoring import asking
from diffuselm.sampling.asking import Asking
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.texts import TargetSet
from diffuselm.tree.prefix_tree import build


@Parameter(name="*")  # each is an option of its own
@dataclass(frozen=True, kw_only=True)
class Question:
    """One model, one prompt, and the list of its answers.

    Args:
        model: folder, GGUF file, or id on the hub.
        prompt: what the model is asked.
        answers: file with an answer a line, each with a tab and a weight or none with one.
        revision: commit or branch on the hub; by default the newest commit.
        seed: of whatever is drawn: answers, and the first weights of an adapter.
    """

    model: str
    prompt: str
    answers: Path
    revision: str | None = None
    seed: int = 1
    opening: OpeningSettings = OpeningSettings()

    def open(self, adapter: Path | None = None) -> Asking:
        """The model, with an adapter on top, ready to be asked.

        Raises InputError for what cannot be read, opened or asked.
        """
        targets = read_answers(self.answers)
        if not self.prompt.strip():
            raise InputError("--prompt: no text; expected what the model is asked")
        if any("\ud800" <= letter <= "\udfff" for letter in self.prompt):
            raise InputError(f"--prompt: {quoted(self.prompt)} is not UTF-8 text; expected such")
        opened = open_named(self.model, self.revision, self.opening, adapter)
        encoded = encode(opened.chat, self.answers.stem, self.prompt, targets)
        return asking(opened, encoded, self.seed)


def encode(chat: ChatFormat, name: str, prompt: str, answers: TargetSet) -> EncodedPrompt:
    """Prompt and answers as tokens; an answer is the model's whole turn, and then it ends.

    Raises InputError for what the model's tokens cannot write.
    """
    tree = build(chat.answer_ids(prompt, answers.texts), answers.weights)
    around = chat.around(prompt)
    asked = Prompt(id=name, text=prompt, targets=answers)
    return EncodedPrompt(asked, chat.prompt_ids(prompt), tree, around)
