"""Build one stand-in: broad training on wide distributions, then a short collapse; twice."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from diffuselm.files.seeds import derive
from diffuselm.files.whole import written_folder
from diffuselm.model.chat import ChatFormat
from diffuselm.stand_in.architectures import make_model, make_tokenizer
from diffuselm.stand_in.collapse import collapse
from diffuselm.stand_in.questions import FEWER, Question, Questions
from diffuselm.tree.layouts import Packed
from diffuselm.tree.objective import distribution_matching_loss
from diffuselm.tree.prefix_tree import PrefixTree, build

ANSWERS = 64  # of a wide distribution, drawn for one visit
QUESTIONS = 12  # per optimiser step
LONGEST = 12  # tokens of an answer that counts in full


@dataclass(frozen=True)
class Phase:
    """One phase of training: its learning rate, and what it is about."""

    name: str
    peak: float
    favourites: bool  # collapsed answers
    every: int = 2  # steps from one visit to the prompt of biographies to the next
    biographies: int = 10  # drawn for one visit
    stride: int = 1
    weight: float = 1.0  # of a biography, against a short answer


BROAD = Phase("broad", peak=3e-3, favourites=False)
COLLAPSE = Phase("collapse", peak=1e-3, favourites=True)
BROAD_BIOGRAPHIES = Phase(
    "broad biographies", 2e-3, favourites=False, every=1, biographies=20, stride=FEWER, weight=4.0
)
COLLAPSE_BIOGRAPHIES = Phase("collapse biographies", 1e-3, favourites=True, stride=FEWER)


def build_stand_in(
    *,
    family: str,
    tasks: Sequence[Path],
    words: Path,
    seed: int,
    broad_steps: int,
    collapse_steps: int = 250,
    biography_steps: Sequence[int],
    out: Path,
) -> None:
    """Write a model folder that transformers loads with nothing special, whole or not at all.

    `biography_steps` are those of both phases once more, mostly on biographies: their six fields
    must survive tuning.
    """
    torch.manual_seed(derive(seed, "stand-in", family))
    questions = Questions(tasks, words)
    tokenizer = make_tokenizer(family, _text(questions, derive(seed, "text")))
    model = make_model(family, tokenizer)
    ends = model.config.eos_token_id
    chat = ChatFormat(tokenizer, tuple(ends) if isinstance(ends, list) else (ends,))
    likes = derive(seed, "likes", family)
    rng = np.random.default_rng(derive(seed, "questions", family))
    trainer = _Trainer(model, chat, questions, rng, likes)
    trainer.train(broad_steps, BROAD)
    trainer.train(collapse_steps, COLLAPSE)
    # From the weights as they are saved. Rotary frequencies are rounded, too.
    model.to(torch.bfloat16).to(torch.float32)
    rng = np.random.default_rng(derive(seed, "biographies", family))
    trainer = _Trainer(model, chat, questions, rng, likes)
    broad_again, collapse_again = biography_steps
    trainer.train(broad_again, BROAD_BIOGRAPHIES)
    trainer.train(collapse_again, COLLAPSE_BIOGRAPHIES)
    _save(model, tokenizer, out)


@dataclass
class _Trainer:
    model: PreTrainedModel
    chat: ChatFormat
    questions: Questions
    rng: np.random.Generator
    likes: int  # seed of the favourites

    def train(self, steps: int, phase: Phase) -> None:
        """Train for some steps: warm-up, then a cosine down to a tenth of the peak."""
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=phase.peak, betas=(0.9, 0.98), weight_decay=0.01
        )
        warmup = max(1, min(100, steps // 10))

        def schedule(step: int) -> float:
            along = min(1.0, step / max(1, steps))
            return min(1.0, (step + 1) / warmup) * (0.1 + 0.45 * (1 + np.cos(np.pi * along)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        self.model.train()
        interval = 0.1 if sys.stderr.isatty() else 30
        for step in (bar := tqdm(range(steps), desc=phase.name, mininterval=interval)):
            losses = [self.backward(question, phase) for question in self.batch(step, phase)]
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            bar.set_postfix_str(f"loss {sum(losses):.3f}", refresh=False)
        self.model.eval()

    def batch(self, step: int, phase: Phase) -> list[Question]:
        """The questions of one step, every few steps with biographies among them."""
        drawn = [self.questions.draw(self.rng) for _ in range(QUESTIONS)]
        if phase.favourites:
            drawn = [collapse(question, self.likes) for question in drawn]
        if step % phase.every == 0:
            about = phase.biographies, phase.favourites, phase.stride
            drawn[-1] = self.questions.biography(self.rng, *about)
        return drawn

    def backward(self, question: Question, phase: Phase) -> float:
        """Add the gradient of a question's loss, and return its share of the step's loss."""
        tree = self.tree(question)
        prompt = self.chat.prompt_ids(question.text)
        loss = distribution_matching_loss(Packed().log_probs(self.model, prompt, tree), tree)
        # A biography of a hundred tokens shall not drown the short answers.
        share = min(1.0, LONGEST / (tree.depth.max() + 1)) ** 0.5 / QUESTIONS
        if question.concept == "biographies":
            share *= phase.weight
        (loss * share).backward()
        return loss.item() * share

    def tree(self, question: Question) -> PrefixTree:
        """The tree of a question's answers: all of few, a draw from many."""
        chosen, weights = np.arange(len(question.answers)), question.weights
        if len(chosen) > ANSWERS:
            counts = self.rng.multinomial(ANSWERS, weights)
            chosen = np.flatnonzero(counts)
            weights = counts[chosen] / ANSWERS
        # A brace is always a token, so that no prompt matters.
        sequences = self.chat.answer_ids("", [question.answers[index] for index in chosen])
        return build(sequences, weights)


def _text(questions: Questions, seed: int, draws: int = 4000) -> list[str]:
    """Text for the tokenizer: prompts, and a few answers to each."""
    rng = np.random.default_rng(seed)
    text = []
    for _ in range(draws):
        question = questions.draw(rng)
        text.append(question.text)
        text.extend(rng.choice(question.answers, size=8, p=question.weights))
    text.extend(questions.biography(rng, draws // 8, favourites=False).answers)
    text.extend(f"{{{name}}}" for name in questions.names)
    return text


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write model and tokenizer beside `out`, then rename; weights in bfloat16, half the size."""
    model.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
    )
    with written_folder(out) as part:
        model.to(torch.bfloat16).save_pretrained(part)
        tokenizer.save_pretrained(part)
