"""Stages `sample` and `score`: answers to prompts, and the exact probabilities of their targets.

They share a process because they share a loaded model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from diffuselm.errors import InputError
from diffuselm.files import contracts
from diffuselm.files.provenance import content_hash, file_hash, run_record, write_json
from diffuselm.files.resume import Parts
from diffuselm.files.seeds import derive
from diffuselm.model.answers import first_value, is_valid
from diffuselm.model.asked_form import asked_form
from diffuselm.model.chat import ChatFormat
from diffuselm.model.encoding import EncodedPrompt, encode_prompts
from diffuselm.model.held_out import text_log_probs
from diffuselm.model.opening import ADAPTER_FILES, OpenModel, open_model
from diffuselm.plan.fingerprint import fingerprint
from diffuselm.progress import progress
from diffuselm.tasks.paragraphs import read_paragraphs
from diffuselm.tasks.prompt_files import task_inputs, task_name
from diffuselm.tasks.tasks import task_of
from diffuselm.tree.form import Form
from diffuselm.tree.long_sampling import sample_long
from diffuselm.tree.objective import choose_node_log_probs, packed_node_log_probs, score
from diffuselm.tree.sampling import Draw, sample
from diffuselm.tree.token_budget import TokenBudget, tokens_that_fit


@dataclass(frozen=True)
class SamplingSettings:
    """How answers are drawn and target sets scored."""

    draws: Mapping[str, int]  # answers to each prompt, by task; 0 where it is scored alone
    max_tokens: Mapping[str, int]  # of an answer, by task
    held: bool  # whether answers are held to the asked form
    token_budget: int | None  # of sampling; None: what fits into memory
    pass_budget: int | None  # of one packed pass of scoring


def run(
    *,
    model_record: Path,
    tuning: str,
    adapter: Path | None,
    tasks: Sequence[Path],
    targets: Sequence[Path],
    held_out_text: Path | None,
    settings: SamplingSettings,
    seed: int,
    checkpoint: Path,
    samples_out: Path,
    exact_out: Path,
    text_out: Path,
) -> None:
    """Write the answers (with run.json beside them), the probabilities and the text's loss.

    What is done of the prompts is kept in the folder `checkpoint`, from where a killed job goes
    on; the folder is gone at the end.
    """
    described = {
        "tuning": tuning,
        "adapter_sha256": adapter and file_hash(adapter / ADAPTER_FILES[0]),
        "tasks": [task_name(task) for task in tasks],
        "held_out_text": held_out_text and held_out_text.name,
        "temperature": 1.0,
        **asdict(settings),
    }
    opened = open_model(model_record, adapter)
    files = [file_hash(file) for file in (*targets, *chain(*map(task_inputs, tasks)))]
    key = content_hash([described, opened.identity, files, seed, fingerprint("tree", "model")])
    with Parts(checkpoint, key) as parts:
        prompts = encode_prompts(opened.chat, tasks, targets, [])
        _check_limits(prompts, settings)
        run_of = _Run(opened, prompts, settings, seed, tuning)
        sampled = [prompt for prompt in prompts if settings.draws[task_of(prompt.id)]]
        samples = [parts.table(f"samples/{p.id}", contracts.SAMPLES, lambda p=p: run_of.samples(p))
                   for p in progress(sampled, unit="prompts sampled")]  # fmt: skip
        exact = [parts.table(f"exact/{p.id}", contracts.EXACT, lambda p=p: run_of.exact(p))
                 for p in progress(prompts, unit="prompts scored")]  # fmt: skip
        samples = samples or [contracts.SAMPLES.empty_table()]
        text = [] if held_out_text is None else list(_text_rows(opened, held_out_text))
        made = run_record(
            settings={**described, **run_of.budgets, **opened.used},
            seed=seed,
            model=opened.record,
            device=str(opened.model.device),
        )
        contracts.write_table(samples_out, pa.concat_tables(samples), contracts.SAMPLES)
        contracts.write_table(exact_out, pa.concat_tables(exact), contracts.EXACT)
        contracts.write_rows(text_out, text, contracts.TEXT)
        write_json(samples_out.with_suffix(".run.json"), made)
        parts.clear()


class _Run:
    """One model and tuning, asked prompt by prompt."""

    def __init__(
        self,
        opened: OpenModel,
        prompts: Sequence[EncodedPrompt],
        settings: SamplingSettings,
        seed: int,
        tuning: str,
    ) -> None:
        self.opened, self.settings, self.seed, self.tuning = opened, settings, seed, tuning
        longest = max(prompts, key=lambda prompt: len(prompt.tokens) + prompt.tree.depth.max())
        model = opened.model
        self.method = choose_node_log_probs(model, longest.tokens, longest.tree)
        fits = tokens_that_fit(model, training=False)
        self.sampling = TokenBudget(settings.token_budget or fits)
        # A packed pass, as in training.
        fits = tokens_that_fit(model, training=True)
        self.scoring = TokenBudget(settings.pass_budget or fits)
        self._forms: dict[tuple, Form] = {}

    @property
    def budgets(self) -> dict[str, int]:
        """Tokens in memory, as they were in the end."""
        return {"token_budget": self.sampling.tokens, "pass_budget": self.scoring.tokens}

    def samples(self, prompt: EncodedPrompt) -> Iterator[dict[str, Any]]:
        """Draw answers to a prompt: rows of `contracts.SAMPLES`."""
        task, chat = task_of(prompt.id), self.opened.chat
        options: dict[str, Any] = {
            "end_tokens": chat.end_tokens,
            "max_tokens": self.settings.max_tokens[task],
            "seed": derive(self.seed, "sample", self.opened.name, self.tuning, prompt.id),
            "form": self._form(prompt),
        }
        draw = sample_long if prompt.fields > 1 else sample
        if draw is sample:
            options["over_tree"] = self.method is packed_node_log_probs
        model, draws = self.opened.model, self.settings.draws[task]
        answers = self.sampling.run(
            lambda tokens: draw(model, prompt.tokens, draws, token_budget=tokens, **options)
        )
        return sample_rows(chat, prompt, answers, self.seed)

    def exact(self, prompt: EncodedPrompt) -> Iterator[dict[str, Any]]:
        """Score the prompt's target set: rows of `contracts.EXACT`."""
        model, form = self.opened.model, self._form(prompt)
        log_probs = self.scoring.run(
            lambda tokens: score(model, prompt.tokens, prompt.tree, self.method, tokens, form)
        )
        for text, probability, weight in prompt.per_target(log_probs):
            yield {
                "prompt": prompt.id,
                "target": text,
                "probability": probability,
                "weight": weight,
            }

    def _form(self, prompt: EncodedPrompt) -> Form | None:
        """The form that answers to the prompt are held to, where they are."""
        if not self.settings.held:
            return None
        asked = (prompt.fields, tuple(prompt.openings), prompt.around)
        if asked not in self._forms:
            vocabulary = self.opened.model.config.get_text_config().vocab_size
            self._forms[asked] = asked_form(self.opened.chat, vocabulary, *asked)
        return self._forms[asked]


def sample_rows(
    chat: ChatFormat, prompt: EncodedPrompt, answers: Sequence[Draw], seed: int
) -> Iterator[dict[str, Any]]:
    """One row of `contracts.SAMPLES` for each answer."""
    for number, answer in enumerate(answers):
        text = chat.decode(answer.tokens)
        yield {
            "prompt": prompt.id,
            "seed": seed,
            "draw": number,
            "text": text,
            "value": first_value(text),
            "valid": is_valid(
                text,
                ended=not answer.truncated,
                fields=prompt.fields,
                openings=prompt.openings,
            ),
            "logprob": answer.log_prob,
            "truncated": answer.truncated,
        }


def _check_limits(prompts: Sequence[EncodedPrompt], settings: SamplingSettings) -> None:
    """Raise InputError where an answer that is a target would be cut off."""
    for prompt in prompts:
        longest, limit = int(prompt.tree.depth.max()) + 1, settings.max_tokens[task_of(prompt.id)]
        if prompt.fields == 1 and longest > limit:
            raise InputError(
                f"{prompt.id}: a target has {longest} tokens of this model; expected at most the "
                f"{limit} of an answer: set sample.max_tokens_of, or the task's max_tokens"
            )


def _text_rows(opened: OpenModel, text: Path) -> Iterator[dict[str, Any]]:
    found = text_log_probs(opened.model, opened.chat.tokenizer, read_paragraphs(text))
    for number, (tokens, log_prob) in enumerate(found):
        yield {"paragraph": number, "tokens": tokens, "log_prob": log_prob}
