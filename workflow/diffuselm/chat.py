"""Chat templates to token ids: what the model reads before an answer, and how an answer ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from diffuselm.errors import InputError


@dataclass(frozen=True)
class ChatFormat:
    """How one model is spoken to: its tokenizer and template, and the tokens that end its turn."""

    tokenizer: PreTrainedTokenizerBase
    end_tokens: tuple[int, ...]  # any of these ends a sampled answer
    leading_space: bool = False  # a space between the template and the answer

    def prompt_text(self, prompt: str) -> str:
        """The text before an answer, template and opening of the model's turn included."""
        if not self.tokenizer.chat_template:
            raise InputError(
                f"{self.tokenizer.name_or_path}: the tokenizer has no chat template; expected one "
                "in chat_template.jinja or tokenizer_config.json"
            )
        return self._render([{"role": "user", "content": prompt}], add_generation_prompt=True)

    def _render(self, turns: list[dict[str, str]], **options: bool) -> str:
        try:
            return self.tokenizer.apply_chat_template(turns, tokenize=False, **options)
        except TemplateError as error:
            raise InputError(
                f"{self.tokenizer.name_or_path}: the chat template refuses the prompt ({error})"
            ) from error

    def encode(self, text: str) -> list[int]:
        """Token ids of text in which special tokens are already written out."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def prompt_ids(self, prompt: str) -> list[int]:
        """Token ids that the model reads before its answer."""
        return self.encode(self.prompt_text(prompt))

    def answer_ids(self, prompt: str, answers: Sequence[str]) -> list[list[int]]:
        """Token ids of each answer after the prompt, closed by the end token.

        Raises InputError where the prompt's ids are not a prefix of those of prompt and answer:
        there the tokenizer joins the template's last character with the answer's first.
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
        text = self.prompt_text(prompt) + " " * self.leading_space
        encoded = []
        for answer in answers:
            ids = self.encode(text + answer)
            if ids[: len(before)] != before:
                raise InputError(
                    f"{self.tokenizer.name_or_path}: the tokenizer joins the chat template's end "
                    f"with the answer {answer!r}; set the model's leading_space to true"
                )
            encoded.append(ids[len(before) :])
        return encoded

    def closing_token(self, prompt: str, answer: str) -> int:
        """The end token that the template writes after an answer, else the first of the model's."""
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        _, found, rest = self._render(turns).rpartition(answer)
        after = self.encode(rest) if found else []
        written = [token for token in after if token in self.end_tokens]
        return written[0] if written else self.end_tokens[0]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of a sampled answer, its end token left out, any other special token shown."""
        if tokens and tokens[-1] in self.end_tokens:
            tokens = tokens[:-1]
        return self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
