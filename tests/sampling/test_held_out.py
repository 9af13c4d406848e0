"""Held-out text: the loss of each paragraph is the model's own, and a bad file is one line."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing

from diffuselm.errors import InputError
from diffuselm.model.opening import load_chat_format, load_model
from diffuselm.sampling.held_out import text_log_probs
from diffuselm.tasks.paragraphs import read_paragraphs

ROOT = Path(__file__).parents[2]
PARAGRAPHS = ["The river rises in the hills.", "Bread.", "The river rises in the hills."]


@pytest.fixture(scope="module")
def stand_in():
    folder = ROOT / "resources/models/tiny-llama"
    model = load_model(folder, dtype="float32", device="cpu")
    return model, load_chat_format(folder, model.generation_config.eos_token_id).tokenizer


def test_paragraphs_are_the_lines_with_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n  One, é.  \n\n\t\nTwo.\r\nThree.", encoding="utf-8")
    assert read_paragraphs(path) == ["One, é.", "Two.", "Three."]


def test_the_text_of_the_default_config_is_plain_paragraphs():
    paragraphs = read_paragraphs(ROOT / "resources/text/held-out.txt")
    assert len(set(paragraphs)) == len(paragraphs) > 5
    assert not set("{}<>") & set("".join(paragraphs))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "no text; expected a paragraph a line"),
        (b" \n\n\t", "no text; expected a paragraph a line"),
        ("Zoë".encode("latin-1"), "not readable as UTF-8 text"),
        (None, "no such file; expected plain text"),
    ],
)
def test_a_file_without_text_is_refused_in_one_line(tmp_path, content, line):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_paragraphs(path)
    assert str(error.value).startswith(f"{path}: {line}")
    assert "\n" not in str(error.value)


def test_a_paragraph_s_log_probability_is_the_sum_over_its_tokens(stand_in):
    """Each token after BOS and the tokens before it, one plain pass a token; in nats."""
    model, tokenizer = stand_in
    found = text_log_probs(model, tokenizer, PARAGRAPHS)
    for paragraph, (tokens, log_prob) in zip(PARAGRAPHS, found, strict=True):
        ids = tokenizer(paragraph, add_special_tokens=False)["input_ids"]
        before, expected = [tokenizer.bos_token_id], 0.0
        for token in ids:
            with torch.no_grad():
                logits = model(torch.tensor([before])).logits[0, -1]
            expected += logits.double().log_softmax(-1)[token].item()
            before.append(token)
        assert tokens == len(ids)
        assert log_prob == pytest.approx(expected, rel=1e-5)


def test_a_paragraph_s_loss_does_not_hang_on_the_others(stand_in):
    found = text_log_probs(*stand_in, PARAGRAPHS)
    assert found[0] == found[2]
    assert found[::-1] == text_log_probs(*stand_in, PARAGRAPHS[::-1])


def test_the_loss_equals_the_library_s_own(stand_in):
    model, tokenizer = stand_in
    [(tokens, log_prob)] = text_log_probs(model, tokenizer, PARAGRAPHS[:1])
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(PARAGRAPHS[0])]])
    with torch.no_grad():
        loss = model(ids, labels=ids).loss.item()
    np.testing.assert_allclose(-log_prob / tokens, loss, rtol=1e-5)


def test_a_tokenizer_that_writes_bos_itself_does_not_write_it_twice(stand_in):
    model, tokenizer = stand_in
    own = copy.deepcopy(tokenizer)
    bos = (own.bos_token, own.bos_token_id)
    own.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{own.bos_token} $A", special_tokens=[bos]
    )
    assert own.encode("Bread.") == [own.bos_token_id, *tokenizer.encode("Bread.")]
    assert text_log_probs(model, own, PARAGRAPHS) == text_log_probs(model, tokenizer, PARAGRAPHS)


def test_a_tokenizer_without_bos_starts_from_its_end_token(stand_in, monkeypatch):
    model, tokenizer = stand_in
    usual = text_log_probs(model, tokenizer, PARAGRAPHS)
    end, kind = tokenizer.eos_token_id, type(tokenizer)
    monkeypatch.setattr(kind, "bos_token_id", end, raising=False)
    from_end = text_log_probs(model, tokenizer, PARAGRAPHS)
    monkeypatch.setattr(kind, "bos_token_id", None, raising=False)
    assert text_log_probs(model, tokenizer, PARAGRAPHS) == from_end != usual
