"""Chat templates to token ids: what the model reads before an answer, and how an answer ends."""

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from transformers import PreTrainedTokenizerBase

from diffuselm.errors import InputError

TAKEN = {"messages", *inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters}
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
    leading_space: bool = False  # a space between the template and the answer
    template_args: Mapping[str, Any] = field(default_factory=dict)  # as enable_thinking: False

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

    def answer_ids(self, prompt: str, answers: Sequence[str]) -> list[list[int]]:
        """Token ids of each answer after the prompt, closed by the end token.

        Raises InputError where the prompt's ids are not a prefix of those of prompt and answer (the
        tokenizer joins the template's last character with the answer's first), where an answer's
        ids do not decode to it, and where they hold an end token.
        """
        end = self.closing_token(prompt, answers[0])
        return [[*ids, end] for ids in self._after(prompt, answers)]

    def opening_ids(self, prompt: str, openings: Sequence[str]) -> list[list[int]]:
        """Token ids of each beginning of an answer that goes on with another braced value.

        As far as they stay the same whatever that value is. Raises InputError as `answer_ids` does.
        """
        gone_on = self._after(prompt, [f"{opening}{{" for opening in openings])
        pairs = zip(self._after(prompt, openings), gone_on, strict=True)
        return [
            [
                a
                for a, _ in takewhile(
                    lambda both: both[0] == both[1], zip(ids, longer, strict=False)
                )
            ]
            for ids, longer in pairs
        ]

    def _after(self, prompt: str, answers: Sequence[str]) -> list[list[int]]:
        before = self.prompt_ids(prompt)
        space = " " * self.leading_space
        text = self.prompt_text(prompt) + space
        encoded = []
        for answer in answers:
            ids = self.encode(text + answer)
            if ids[: len(before)] != before:
                raise self._joined(answer)
            ids = ids[len(before) :]
            if set(ids) & set(self.end_tokens):
                raise self._refusal(
                    f"the answer {answer!r} holds an end token; expected one that goes on to its "
                    "last character"
                )
            if (shown := self.decode(ids)) != space + answer:
                raise self._refusal(
                    f"the answer {answer!r} comes back from the tokenizer as {shown!r}; expected "
                    "a spelling that its tokens keep"
                )
            encoded.append(ids)
        return encoded

    def _joined(self, answer: str) -> InputError:
        remedy = "false, or a chat_template that ends otherwise" if self.leading_space else "true"
        return self._refusal(
            f"the tokenizer joins the chat template's end with the answer {answer!r}; "
            f"set the model's leading_space to {remedy}"
        )

    def closing_token(self, prompt: str, answer: str) -> int:
        """The end token that the template writes after an answer, else the first of the model's.

        Of what stands before the answer only its place is used: a template may open the model's
        turn otherwise than it writes past turns (Qwen 3 with enable_thinking: false).
        Raises InputError where the template does not write the answer.
        """
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        # Templates may trim what a turn says.
        _, found, rest = self.render(turns).rpartition(answer.strip())
        if not found:
            raise self._refusal(
                f"the chat template does not write the model's answer {answer!r}; expected it as "
                "it is"
            )
        written = [token for token in self.encode(rest) if token in self.end_tokens]
        return written[0] if written else self.end_tokens[0]

    def around(self, prompt: str) -> tuple[str, str]:
        return ("", "")

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of a sampled answer, its end token left out, any other special token shown."""
        if tokens and tokens[-1] in self.end_tokens:
            tokens = tokens[:-1]
        # SentencePiece's decoder drops a text's first space, which here is the answer's own.
        before = self.encode("a")
        return self._text([*before, *tokens]).removeprefix(self._text(before))

    def _text(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)

    def _refusal(self, problem: str) -> InputError:
        return InputError(f"{self.tokenizer.name_or_path}: {problem}")
