"""One model and tuning, asked prompt by prompt: what is drawn and scored, as rows of results."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

from diffuselm.config.sample import AnswerSettings
from diffuselm.errors import InputError
from diffuselm.files.seeds import derive
from diffuselm.methods.method import Decoding, Method, Prompting
from diffuselm.methods.replies import Read
from diffuselm.methods.temperature import Temperature
from diffuselm.model.encoding import EncodedPrompt
from diffuselm.model.opening import OpenModel
from diffuselm.model.virtual_tokens import embedded_tokens
from diffuselm.sampling.answers import Question
from diffuselm.sampling.asked_form import asked_form
from diffuselm.sampling.held_out import text_log_probs
from diffuselm.sampling.tree_sampling import Sampler, choose_sampler
from diffuselm.tasks.prompts import task_of
from diffuselm.tree.form import Form
from diffuselm.tree.layouts import Layout, Warp, choose_layout, score
from diffuselm.tree.token_budget import TokenBudget, tokens_that_fit

Row = dict[str, Any]


class Asking:
    """Answers and exact probabilities of one model and tuning, by a `method` where there is one.

    Raises InputError where an answer that is a target would be cut off, or `settings` lack a task.
    """

    def __init__(
        self,
        opened: OpenModel,
        tuning: str,
        prompts: Sequence[EncodedPrompt],
        settings: AnswerSettings,
        seed: int,
        method: Method | None = None,
    ) -> None:
        self.opened, self.tuning, self.prompts = opened, tuning, prompts
        self.settings, self.seed, self.method = settings, seed, method
        fits = tokens_that_fit(opened.model, training=False)
        self.sampling = TokenBudget(settings.token_budget or fits)
        # A packed pass, as in training.
        fits = tokens_that_fit(opened.model, training=True)
        self.scoring = TokenBudget(settings.pass_budget or fits)
        self._form, self._questions = cache(self._make_form), cache(self._make_questions)
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
        asked = (q.prompt for prompt in self.sampled for q in self._questions(prompt))
        most = max(self.settings.max_tokens.values())
        return choose_sampler(self.opened.model, max(asked, key=len), most)

    def samples(self, prompt: EncodedPrompt) -> Iterator[Row]:
        """Draw answers to a prompt: rows of `schemas.DRAWN`."""
        warp = self.method.warp if isinstance(self.method, Decoding) else None
        return self._drawn(prompt, self._questions(prompt), warp)

    def swept(self, prompt: EncodedPrompt, temperature: float) -> Iterator[Row]:
        """Draw answers at a temperature (footnote 6): rows of `schemas.SWEEP`."""
        seed = derive(self.seed, "sweep", self.opened.name, prompt.id, f"{temperature:g}")
        question = Question(prompt.tokens, self.settings.draws[task_of(prompt.id)], seed)
        warp = Temperature(temperature=temperature).warp
        for row in self._drawn(prompt, [question], warp):
            yield {"temperature": temperature, **row}

    def _make_questions(self, prompt: EncodedPrompt) -> list[Question]:
        """A prompt as it is asked: in calls that differ by a method's own draws, or once for all.

        Calls of one text are one question.
        """
        seed = derive(self.seed, "sample", self.opened.name, self.tuning, prompt.id)
        draws = self.settings.draws[task_of(prompt.id)]
        if not isinstance(self.method, Prompting):
            return [Question(prompt.tokens, draws, seed)]
        rngs = (np.random.default_rng(derive(seed, "call", str(n))) for n in range(draws))
        calls = Counter(self.method.ask(prompt.prompt, rng) for rng in rngs)
        ids = self.opened.chat.prompt_ids
        return [Question(ids(text), n, derive(seed, "reply", text)) for text, n in calls.items()]

    def _drawn(
        self, prompt: EncodedPrompt, questions: Sequence[Question], warp: Warp | None
    ) -> Iterator[Row]:
        options: dict[str, Any] = {
            "end_tokens": self.opened.chat.end_tokens,
            "max_tokens": self.settings.max_tokens[task_of(prompt.id)],
            "form": self._form_of(prompt),
            "warp": warp,
        }
        model, read = self.opened.model, self._reader(prompt)
        answers = self.sampling.attempt(
            lambda tokens: self.sampler(model, questions, token_budget=tokens, **options)
        )
        virtual = embedded_tokens(model)
        pairs = ((q, each) for q, its in zip(questions, answers, strict=True) for each in its)
        for number, (question, answer) in enumerate(pairs):
            text, found = read(answer.tokens, answer.truncated, number)
            yield {
                "prompt": prompt.id,
                "seed": self.seed,
                "draw": number,
                "text": text,
                **found._asdict(),
                "logprob": answer.log_prob,
                "truncated": answer.truncated,
                "tokens_read": virtual + len(question.prompt),
                "tokens_written": len(answer.tokens),
            }

    def _reader(
        self, prompt: EncodedPrompt
    ) -> Callable[[tuple[int, ...], bool, int], tuple[str, Read]]:
        """How an answer's tokens are read: its text, and its value."""
        method, chat = self.method, self.opened.chat

        @cache  # few answers are distinct
        def usual(tokens: tuple[int, ...], truncated: bool) -> tuple[str, Read]:
            text = chat.decode(tokens)
            return text, Read(*prompt.read(text, ended=not truncated))

        def by_method(tokens: tuple[int, ...], truncated: bool, number: int) -> tuple[str, Read]:
            text, seed = chat.decode(tokens), derive(self.seed, "read", prompt.id, str(number))
            return text, method.value_of(text, not truncated, np.random.default_rng(seed))

        if isinstance(method, Prompting):
            return by_method
        return lambda tokens, truncated, _: usual(tokens, truncated)

    def exact(self, prompt: EncodedPrompt) -> Iterator[Row]:
        """Score the prompt's target set: rows of `schemas.EXACT`.

        None of a method that asks in many ways: its distribution is a mixture of as many trees.
        """
        if isinstance(self.method, Prompting):
            return
        model, form = self.opened.model, self._form_of(prompt)
        warp = self.method.warp if isinstance(self.method, Decoding) else None
        log_probs = self.scoring.attempt(
            lambda tokens: score(model, prompt.tokens, prompt.tree, self.layout, tokens, form, warp)
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
        return self._form(prompt.prompt.fields, prompt.prompt.openings, prompt.around)

    def _make_form(self, fields: int, openings: Sequence[str], around: tuple[str, str]) -> Form:
        vocabulary = self.opened.model.config.get_text_config().vocab_size
        return asked_form(self.opened.chat, vocabulary, fields, openings, around)


def _check_settings(prompt: EncodedPrompt, settings: AnswerSettings) -> None:
    task = task_of(prompt.id)
    for key, of_tasks in (("draws", settings.draws), ("max_tokens", settings.max_tokens)):
        if task not in of_tasks:
            raise InputError(f"{key}: nothing for {task}; expected a number for each task")
    limit = settings.max_tokens[task]
    longest = int(prompt.tree.depth.max(initial=-1)) + 1
    if prompt.prompt.fields == 1 and longest > limit:
        raise InputError(
            f"{prompt.id}: a target has {longest} tokens of this model; expected at most the "
            f"{limit} of an answer: set sample.max_tokens_of, or the task's max_tokens"
        )
