"""One model and tuning, asked prompt by prompt: what is drawn and scored, as rows of results."""

from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from typing import Any

from diffuselm.config.sample import AnswerSettings
from diffuselm.errors import InputError
from diffuselm.files.seeds import derive
from diffuselm.model.chat import ChatFormat
from diffuselm.model.encoding import EncodedPrompt
from diffuselm.model.opening import OpenModel
from diffuselm.sampling.answers import Draw
from diffuselm.sampling.asked_form import asked_form
from diffuselm.sampling.held_out import text_log_probs
from diffuselm.sampling.tree_sampling import Sampler, choose_sampler
from diffuselm.tasks.prompts import task_of
from diffuselm.tree.form import Form
from diffuselm.tree.layouts import Layout, choose_layout, score
from diffuselm.tree.token_budget import TokenBudget, tokens_that_fit


class Asking:
    """Answers and exact probabilities of one model and tuning.

    Raises InputError where an answer that is a target would be cut off, or `settings` lack a task.
    """

    def __init__(
        self,
        opened: OpenModel,
        tuning: str,
        prompts: Sequence[EncodedPrompt],
        settings: AnswerSettings,
        seed: int,
    ) -> None:
        self.opened, self.tuning, self.prompts = opened, tuning, prompts
        self.settings, self.seed = settings, seed
        fits = tokens_that_fit(opened.model, training=False)
        self.sampling = TokenBudget(settings.token_budget or fits)
        # A packed pass, as in training.
        fits = tokens_that_fit(opened.model, training=True)
        self.scoring = TokenBudget(settings.pass_budget or fits)
        self._form = cache(self._make_form)
        for prompt in prompts:
            _check_settings(prompt, settings)

    @property
    def sampled(self) -> list[EncodedPrompt]:
        """The prompts that are answered; the others are scored alone."""
        return [prompt for prompt in self.prompts if self.settings.draws[task_of(prompt.id)]]

    @property
    def scored(self) -> list[EncodedPrompt]:
        """The prompts that have targets; to the others any answer will do."""
        return [prompt for prompt in self.prompts if len(prompt.tree)]

    @property
    def budgets(self) -> dict[str, int]:
        """Tokens in memory, as they were in the end."""
        return {
            "token_budget": self.sampling.tokens,
            "pass_budget": self.scoring.tokens,
        }

    @cached_property
    def layout(self) -> Layout:
        """What the model takes of all prompts that are scored."""
        return choose_layout(self.opened.model, [(p.tokens, p.tree) for p in self.scored])

    @cached_property
    def sampler(self) -> Sampler:
        """What the model takes of the longest prompt and the longest answer."""
        longest = max((prompt.tokens for prompt in self.sampled), key=len)
        return choose_sampler(self.opened.model, longest, max(self.settings.max_tokens.values()))

    def samples(self, prompt: EncodedPrompt) -> Iterator[dict[str, Any]]:
        """Draw answers to a prompt: rows of `schemas.SAMPLES`."""
        seed = derive(self.seed, "sample", self.opened.name, self.tuning, prompt.id)
        return self._drawn(prompt, seed=seed)

    def swept(self, prompt: EncodedPrompt, temperature: float) -> Iterator[dict[str, Any]]:
        """Draw answers at a temperature (footnote 6): rows of `schemas.SWEEP`."""
        seed = derive(self.seed, "sweep", self.opened.name, prompt.id, f"{temperature:g}")
        for row in self._drawn(prompt, seed=seed, temperature=temperature):
            yield {"temperature": temperature, **row}

    def _drawn(self, prompt: EncodedPrompt, **options: Any) -> Iterator[dict[str, Any]]:
        model, chat, task = self.opened.model, self.opened.chat, task_of(prompt.id)
        options["end_tokens"] = chat.end_tokens
        options["max_tokens"] = self.settings.max_tokens[task]
        options["form"] = self._form_of(prompt)
        answers = self.sampling.attempt(
            lambda tokens: self.sampler(
                model, prompt.tokens, self.settings.draws[task], token_budget=tokens, **options
            )
        )
        return sample_rows(chat, prompt, answers, self.seed)

    def exact(self, prompt: EncodedPrompt) -> Iterator[dict[str, Any]]:
        """Score the prompt's target set: rows of `schemas.EXACT`."""
        model, form = self.opened.model, self._form_of(prompt)
        log_probs = self.scoring.attempt(
            lambda tokens: score(model, prompt.tokens, prompt.tree, self.layout, tokens, form)
        )
        for text, probability, weight in prompt.per_target(log_probs):
            yield {
                "prompt": prompt.id,
                "target": text,
                "probability": probability,
                "weight": weight,
            }

    def text(self, paragraphs: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Score a text that no tuning saw: rows of `schemas.TEXT`."""
        found = text_log_probs(self.opened.model, self.opened.chat.tokenizer, paragraphs)
        for number, (tokens, log_prob) in enumerate(found):
            yield {"paragraph": number, "tokens": tokens, "log_prob": log_prob}

    def _form_of(self, prompt: EncodedPrompt) -> Form | None:
        """The form that answers to the prompt are held to, where they are."""
        if not self.settings.held:
            return None
        return self._form(prompt.fields, tuple(prompt.openings), prompt.around)

    def _make_form(self, fields: int, openings: Sequence[str], around: tuple[str, str]) -> Form:
        vocabulary = self.opened.model.config.get_text_config().vocab_size
        return asked_form(self.opened.chat, vocabulary, fields, openings, around)


def sample_rows(
    chat: ChatFormat, prompt: EncodedPrompt, answers: Sequence[Draw], seed: int
) -> Iterator[dict[str, Any]]:
    """One row of `schemas.SAMPLES` for each answer."""

    @cache  # few answers are distinct
    def read(tokens: tuple[int, ...], truncated: bool) -> dict[str, Any]:
        text = chat.decode(tokens)
        value, valid = prompt.read(text, ended=not truncated)
        return {"text": text, "value": value, "valid": valid, "truncated": truncated}

    for number, answer in enumerate(answers):
        found = read(answer.tokens, answer.truncated)
        row = {"prompt": prompt.id, "seed": seed, "draw": number, "logprob": answer.log_prob}
        yield row | found


def _check_settings(prompt: EncodedPrompt, settings: AnswerSettings) -> None:
    task = task_of(prompt.id)
    for key, of_tasks in (("draws", settings.draws), ("max_tokens", settings.max_tokens)):
        if task not in of_tasks:
            raise InputError(f"{key}: nothing for {task}; expected a number for each task")
    limit = settings.max_tokens[task]
    longest = int(prompt.tree.depth.max(initial=-1)) + 1
    if prompt.fields == 1 and longest > limit:
        raise InputError(
            f"{prompt.id}: a target has {longest} tokens of this model; expected at most the "
            f"{limit} of an answer: set sample.max_tokens_of, or the task's max_tokens"
        )
