"""An answer summed over its spellings: against every sequence over a small vocabulary."""

from itertools import product

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from diffuselm.errors import InputError
from diffuselm.model.chat import ChatFormat
from diffuselm.model.opening import OpenModel
from diffuselm.one_prompt.question import encode
from diffuselm.one_prompt.scoring import asking, scores
from diffuselm.one_prompt.spellings import spelled
from diffuselm.tasks.texts import TargetSet

SPECIAL = ["<pad>", "<s>", "</s>", "<eot>"]
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}<s>{% else %}{{ m.content }}</s>{% endif %}"
    "{% endfor %}"
)
ANSWERS = ("ab", "aab", "é", "b é", "<eot>")
TOKENS = 4  # of the longest sequence that is tried


def byte_level():
    """Letters, both bytes of é, pieces of two letters, and a token that is added as it is."""
    pieces = ["a", "b", "Ġ", "Ã", "©", "ab", "aa", "Ã©", "bĠ"]
    vocabulary = {piece: n for n, piece in enumerate([*SPECIAL, *pieces])}
    merges = [("a", "b"), ("a", "a"), ("Ã", "©"), ("b", "Ġ")]
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return inner


def sentence_piece():
    """As in Llama 2: spaces as ▁, bytes as <0xC3>, and a decoder that drops a first space."""
    pieces = ["a", "b", "▁", "<0xC3>", "<0xA9>", "ab", "é", "▁é"]
    vocabulary = {piece: n for n, piece in enumerate([*SPECIAL, *pieces])}
    merges = [("a", "b"), ("▁", "é")]
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True))
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return inner


def underscores():
    """Spaces as underscores, which are then no underscores themselves."""
    inner = Tokenizer(models.BPE(vocab={p: n for n, p in enumerate([*SPECIAL, *"ab_"])}, merges=[]))
    inner.normalizer = normalizers.Replace(" ", "_")
    inner.decoder = decoders.Sequence([decoders.Replace("_", " "), decoders.Fuse()])
    return inner


@pytest.fixture
def asked(small_model):
    """Open a small model with a tokenizer, and ask it for answers."""

    def ask(inner, answers, ends=(2,), extra=0):
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=inner,
            bos_token="<s>",
            eos_token="</s>",
            additional_special_tokens=["<pad>", "<eot>"],
            name_or_path="models/tiny",
        )
        tokenizer.chat_template = TEMPLATE
        model = small_model("Llama", vocab_size=len(tokenizer) + extra)
        opened = OpenModel({"model": "tiny"}, model, ChatFormat(tokenizer, ends))
        targets = TargetSet.of(answers)
        return asking(opened, encode(opened.chat, "list", "?", targets), seed=1)

    return ask


def every_spelling(asked, answers):
    """The probability of each answer, from all sequences of tokens that the tokenizer decodes."""
    tokenizer, model = asked.opened.chat.tokenizer, asked.opened.model
    ends = asked.opened.chat.end_tokens
    others = [token for token in range(len(tokenizer)) if token not in ends]
    found = dict.fromkeys(answers, 0.0)
    for length in range(1, TOKENS + 1):
        spelt = [
            (sequence, text)
            for sequence in product(others, repeat=length)
            # After a letter: a decoder may drop the first space.
            if (text := tokenizer.decode([*tokenizer.encode("a"), *sequence])[1:]) in found
        ]
        rows = torch.tensor([[1, *sequence] for sequence, _ in spelt]).reshape(-1, 1 + length)
        with torch.no_grad():
            steps = model(rows).logits.double().log_softmax(-1)
        taken = steps[:, :-1].gather(2, rows[:, 1:, None]).sum((1, 2)).exp()
        mass = (taken * steps[:, -1, list(ends)].exp().sum(-1)).tolist()
        for (_, text), probability in zip(spelt, mass, strict=True):
            found[text] += probability
    return np.array([found[answer] for answer in answers])


@pytest.mark.parametrize(
    ("inner", "ends"), [(byte_level, (2,)), (byte_level, (2, 0)), (sentence_piece, (2,))]
)
def test_the_sum_is_that_of_all_sequences_that_write_the_answer(asked, inner, ends):
    it = asked(inner(), ANSWERS, ends)
    own, walked = scores(it), spelled(it, scores(it), least=0.0)
    expected = every_spelling(it, ANSWERS)
    np.testing.assert_allclose(walked.probabilities, expected, rtol=1e-4)
    assert walked.unexplored == 0
    assert (expected[:4] > 1.01 * own.probabilities[:4]).all()


@pytest.mark.parametrize("least", [1e-3, 1e-2, 0.1, 1.0])
def test_what_was_not_followed_is_said_and_bounds_the_sum(asked, least):
    it = asked(byte_level(), ANSWERS)
    own, walked = scores(it), spelled(it, scores(it), least)
    whole = every_spelling(it, ANSWERS)
    assert (own.probabilities <= walked.probabilities).all()
    assert (walked.probabilities <= whole * (1 + 1e-5)).all()
    assert (whole <= walked.probabilities + walked.missing + whole * 1e-5).all()
    assert whole.sum() <= (walked.probabilities.sum() + walked.unexplored) * (1 + 1e-5)
    assert walked.unexplored > 0
    assert walked.missing.max() <= walked.unexplored + 1e-12


def test_tokens_beyond_the_tokenizer_s_are_no_spelling(asked):
    """A vocabulary is often padded to a round number; its rest decodes to nothing."""
    it = asked(byte_level(), ANSWERS, extra=5)
    walked = spelled(it, scores(it), least=0.0)
    np.testing.assert_allclose(walked.probabilities, every_spelling(it, ANSWERS), rtol=1e-4)


def test_a_tokenizer_of_another_kind_is_refused_in_one_line(asked):
    it = asked(underscores(), ("a b",))
    with pytest.raises(InputError, match=r"models/tiny: .* byte by byte; expected") as error:
        spelled(it, scores(it))
    assert "\n" not in str(error.value)
