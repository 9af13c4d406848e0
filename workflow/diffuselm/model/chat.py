"""Chat templates to token ids: what the model reads before an answer, and how an answer ends."""

import inspect
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import Any

from transformers import PreTrainedTokenizerBase

from diffuselm.errors import InputError

log = logging.getLogger(__name__)

TAKEN = {"messages", *inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters}
ANSWER = "{Any answer 7}"  # stands for all answers where the template is asked what it writes
# Put before a template, it stands in for the clock: with the day of the run in the prompt, the same
# config would give other answers tomorrow. Its last line's end is trimmed when rendered.
NO_CLOCK = """\
{% macro strftime_now(format) %}{% if date_string is defined %}{{ date_string }}{% else %}{{
raise_exception("it writes today's date; set a fixed date_string in the model's template_args")
}}{% endif %}{% endmacro %}
"""


@dataclass(frozen=True)
class ChatFormat:
    """How one model is spoken to: its tokenizer and template, and the tokens that end its turn.

    Raises InputError where `template_args` name what apply_chat_template or its callers here set,
    or what is nowhere in the template.
    """

    tokenizer: PreTrainedTokenizerBase
    end_tokens: tuple[int, ...]  # any of these ends a sampled answer
    leading_space: bool | None = None  # True: a space before answers; None: as the template has it
    template_args: Mapping[str, Any] = field(default_factory=dict)  # as enable_thinking: False
    _warned: list[bool] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the template's arguments: a misspelt one would pass unseen."""
        template = str(self.tokenizer.chat_template or "")
        read = NO_CLOCK + template if "strftime_now" in template else template
        for name in self.template_args:
            if name in TAKEN:
                raise self._refusal(
                    f"template_args: {name} is set by the program; expected variables of the "
                    "chat template alone"
                )
            if template and not re.search(rf"\b{re.escape(name)}\b", read):
                raise self._refusal(
                    f"template_args: {name} is nowhere in the chat template; expected a variable "
                    "that it reads"
                )

    def prompt_text(self, prompt: str) -> str:
        """The text before an answer, template and opening of the model's turn included."""
        return self.render([{"role": "user", "content": prompt}], add_generation_prompt=True)

    def render(
        self, turns: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = False
    ) -> str:
        """Text of a conversation in the chat template, special tokens written out.

        Raises InputError where there is no template, where it fails or refuses the turns, and
        where it would write today's date: `date_string` in `template_args` is written instead.
        """
        if not self.tokenizer.chat_template:
            raise self._refusal(
                "the tokenizer has no chat template; expected one in chat_template.jinja or "
                "tokenizer_config.json, or the model's chat_template set to a Jinja file"
            )
        try:
            return self.tokenizer.apply_chat_template(
                list(turns),
                chat_template=NO_CLOCK + self.tokenizer.get_chat_template(),
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **self.template_args,
            )
        except Exception as error:  # a template is a program
            # Without a syntax error's line number, which would count the lines put before.
            cause = " ".join((getattr(error, "message", None) or str(error)).split())
            roles = ", ".join(turn["role"] for turn in turns)
            raise self._refusal(
                f"the chat template refuses turns of {roles} ({cause}); expected it to write them"
            ) from error

    def encode(self, text: str) -> list[int]:
        """Token ids of text in which special tokens are already written out."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def prompt_ids(self, prompt: str) -> list[int]:
        """Token ids that the model reads before its answer."""
        return self.encode(self.prompt_text(prompt))

    def around(self, prompt: str) -> tuple[str, str]:
        """The text between prompt and answer, and the one between answer and end token.

        Both are what the chat template writes around the model's turn, unless `leading_space` sets
        the first. Raises InputError where the template does not write the answer.
        """
        before, after, _ = self._turn(prompt)
        return before, after

    def answer_ids(self, prompt: str, answers: Sequence[str]) -> list[list[int]]:
        """Token ids of each answer after the prompt, as the template writes the model's turn.

        The last is the end token. Raises InputError where the prompt's ids are not a prefix of
        those of prompt and answer (the tokenizer joins the template's last character with the
        answer's first), where an answer's ids do not decode to it, and where they hold an end
        token.
        """
        before, after, end = self._turn(prompt)
        return [[*ids, end] for ids in self._encoded(prompt, answers, before, after)]

    def endless_ids(self, prompt: str, answers: Sequence[str]) -> list[list[int]]:
        """Token ids of each answer and nothing after it. Raises InputError as `answer_ids` does."""
        before, _, _ = self._turn(prompt)
        return self._encoded(prompt, answers, before)

    def opening_ids(self, prompt: str, openings: Sequence[str]) -> list[list[int]]:
        """Token ids of each beginning of an answer that goes on with another line of braces.

        As far as they stay the same whatever that line is. Raises InputError as `answer_ids` does.
        """
        before, _, _ = self._turn(prompt)
        line_ends = ["" if opening.endswith("\n") else "\n" for opening in openings]
        longer = [f"{opening}{end}{{" for opening, end in zip(openings, line_ends, strict=True)]
        pairs = zip(
            self._encoded(prompt, openings, before),
            self._encoded(prompt, longer, before),
            strict=True,
        )
        return [_common_start(ids, gone_on) for ids, gone_on in pairs]

    def _turn(self, prompt: str) -> tuple[str, str, int]:
        """What stands before and after an answer, and its end token.

        The end token is the first of the model's that the template writes, else the first of all.
        Only white space counts as standing around an answer: the model is not to say whatever else
        a template writes there.
        """
        opened = self.prompt_text(prompt)
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": ANSWER}]
        written = self.render(turns)
        if ANSWER not in written:
            raise self._refusal(
                "the chat template does not write the model's answer; expected it as it is"
            )
        before, _, rest = written.removeprefix(opened).partition(ANSWER)
        if not written.startswith(opened) or before.strip():
            before, rest = "", written.rpartition(ANSWER)[2]
            self._warn_of_opening()
        if self.leading_space is not None:
            before = " " * self.leading_space
        ends = {self._shown([token]): token for token in self.end_tokens}
        found = min(filter(rest.__contains__, ends), key=rest.index, default=None)
        if found is None:
            return before, "", self.end_tokens[0]
        after = rest[: rest.index(found)]
        return before, "" if after.strip() else after, ends[found]

    def _encoded(
        self, prompt: str, answers: Sequence[str], before: str, after: str = ""
    ) -> list[list[int]]:
        """Token ids of each answer and of what stands around it, read in one with the prompt."""
        opened = self.prompt_text(prompt)
        read = self.encode(opened)
        whole = [before + answer + after for answer in answers]
        every = self.tokenizer([opened + said for said in whole], add_special_tokens=False)
        encoded = []
        for answer, said, ids in zip(answers, whole, every["input_ids"], strict=True):
            if ids[: len(read)] != read:
                remedy = "false, or a chat_template that ends otherwise" if before else "true"
                raise self._refusal(
                    f"the tokenizer joins the chat template's end with the answer {answer!r}; "
                    f"set the model's leading_space to {remedy}"
                )
            ids = ids[len(read) :]
            if set(ids) & set(self.end_tokens):
                raise self._refusal(
                    f"the answer {answer!r} holds an end token; expected one that goes on to its "
                    "last character"
                )
            if (shown := self._shown(ids)) != said:
                raise self._refusal(
                    f"the answer {said!r} comes back from the tokenizer as {shown!r}; expected "
                    "a spelling that its tokens keep"
                )
            encoded.append(ids)
        return encoded

    def _warn_of_opening(self) -> None:
        if self.leading_space is None and not self._warned:
            self._warned.append(True)
            log.warning(
                "%s: the chat template does not open a new turn as it writes past ones: answers "
                "follow its opening directly (leading_space: true would put a space between)",
                self.tokenizer.name_or_path,
            )

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of a sampled answer without its end token, but with any other special token."""
        if tokens and tokens[-1] in self.end_tokens:
            tokens = tokens[:-1]
        return self._shown(tokens)

    def _shown(self, tokens: Sequence[int]) -> str:
        before, written = self._before
        return self._text([*before, *tokens]).removeprefix(written)

    @cached_property
    def _before(self) -> tuple[list[int], str]:
        """Some text: SentencePiece's decoder drops a first space, which is the answer's own."""
        ids = self.encode("a")
        return ids, self._text(ids)

    def _text(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)

    def _refusal(self, problem: str) -> InputError:
        return InputError(f"{self.tokenizer.name_or_path}: {problem}")


def _common_start(ids: Sequence[int], others: Sequence[int]) -> list[int]:
    pairs = zip(ids, others, strict=False)
    return [token for token, _ in takewhile(lambda both: both[0] == both[1], pairs)]
