"""The probability of an answer summed over its tokenisations: Eq. 1 for every way to spell it.

A walk over prefixes of tokens whose bytes begin one of the answers, a token longer at each level.
Prefixes below a probability are not followed; what they could still lead to is known, and is said.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from diffuselm.errors import InputError
from diffuselm.one_prompt.scoring import Scores, log_probs
from diffuselm.progress import progress
from diffuselm.sampling.asking import Asking
from diffuselm.tree.prefix_tree import build

LEAST = 1e-6  # probability of a prefix that is followed


@dataclass(frozen=True)
class Spelled:
    """The answers' probabilities, each summed over the spellings that were followed to the end."""

    probabilities: np.ndarray  # (answers,)
    missing: np.ndarray  # (answers,) at most so much more: the prefixes of it that were left
    unexplored: float  # probability of all prefixes that were left: at most so much target mass
    least: float  # the probability below which they were


def spelled(asked: Asking, scores: Scores, least: float = LEAST) -> Spelled:
    """Sum over all token sequences that write exactly an answer and then end.

    Tokens that write nothing, as a vocabulary may have beyond the tokenizer's, are none of them.
    Raises InputError for a tokenizer whose tokens are not known byte by byte.
    """
    walk = _Walk(asked, scores)
    found, missing = scores.probabilities, np.zeros(len(walk.order))
    unexplored, followed = 0.0, {(): b""}
    with progress(total=0, unit="spellings") as bar:
        while followed:
            grown = walk.grown(followed)
            bar.total += len(grown)
            reached = np.exp(log_probs(asked, build(list(grown), [1.0] * len(grown)), bar))
            followed = {}
            for (tokens, text), probability in zip(grown.items(), reached.tolist(), strict=True):
                if tokens[-1] in walk.ends:
                    found[walk.own(text)] += probability * (tokens not in walk.usual)
                elif probability >= least:
                    followed[tokens] = text
                else:
                    missing[walk.begun_by(text)] += probability
                    unexplored += probability
    return Spelled(found, missing, unexplored, least)


class _Walk:
    """What may follow a prefix of an answer's bytes, and which answers it is a prefix of."""

    def __init__(self, asked: Asking, scores: Scores) -> None:
        prompt, chat = scores.prompt, asked.opened.chat
        before, after = prompt.around
        texts = [(before + text + after).encode() for text in prompt.targets]
        usual = [prompt.tree.sequence(number) for number in range(len(texts))]
        self.order = np.array(sorted(range(len(texts)), key=texts.__getitem__))
        self._texts = [texts[number] for number in self.order]
        self.usual, self.ends = {*map(tuple, usual)}, chat.end_tokens
        vocabulary = asked.opened.model.config.get_text_config().vocab_size
        written = token_bytes(chat.tokenizer, vocabulary)
        for text, tokens in zip(texts, usual, strict=True):
            if b"".join(written.get(token, b"\xff") for token in tokens[:-1]) != text:
                raise InputError(
                    f"--spellings: {chat.tokenizer.name_or_path}: tokens {tokens[:-1]} are not "
                    f"{text.decode()!r} byte by byte; expected a byte-level or SentencePiece "
                    "tokenizer"
                )
        self._pieces: dict[bytes, list[int]] = {}
        for token, piece in written.items():
            if piece and token not in self.ends:
                self._pieces.setdefault(piece, []).append(token)
        self._longest = max(map(len, self._pieces))

    def begun_by(self, text: bytes) -> np.ndarray:
        """The numbers of the answers that begin with these bytes."""
        # UTF-8 has no byte 255.
        ends = (bisect_left(self._texts, end) for end in (text, text + b"\xff"))
        return self.order[slice(*ends)]

    def own(self, text: bytes) -> int:
        """The number of the answer that is these bytes."""
        return self.order[bisect_left(self._texts, text)]

    def grown(self, prefixes: Mapping[tuple[int, ...], bytes]) -> dict[tuple[int, ...], bytes]:
        """All prefixes that are one token longer, and what they write."""
        return {
            (*tokens, token): text + piece
            for tokens, text in prefixes.items()
            for token, piece in self._next(text)
        }

    def _next(self, text: bytes) -> Iterator[tuple[int, bytes]]:
        """The tokens that go on with an answer, and what each writes; the end tokens after one."""
        start, pieces = len(text), {}
        for number in range(bisect_left(self._texts, text), len(self._texts)):
            whole = self._texts[number]
            if not whole.startswith(text):
                break
            if whole == text:
                yield from ((end, b"") for end in self.ends)
            rest = whole[start : start + self._longest]
            pieces |= dict.fromkeys(rest[: size + 1] for size in range(len(rest)))
        for piece in pieces:
            yield from ((token, piece) for token in self._pieces.get(piece, ()))


def token_bytes(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> dict[int, bytes]:
    """What each token writes: of a byte-level tokenizer, or of one of SentencePiece's kind."""
    decoder = json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"])
    byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}

    def bytes_of(piece: str) -> bytes:
        if '"ByteLevel"' in decoder:
            letters = [byte_of.get(letter) for letter in piece]
            return piece.encode() if None in letters else bytes(letters)
        if '"ByteFallback"' in decoder and re.fullmatch("<0x[0-9A-F]{2}>", piece):
            return bytes.fromhex(piece[3:5])
        return piece.replace("▁", " ").encode()

    pieces = {token: piece for piece, token in tokenizer.get_vocab().items()}
    return {token: bytes_of(piece) for token, piece in pieces.items() if token < vocabulary}
