"""Chat templates: where a prompt ends, where its answer begins, and what closes the answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from diffuselm.chat import ChatFormat
from diffuselm.errors import InputError
from diffuselm.parse import first_value, is_valid

SPECIAL = ["<s>", "</s>", "<start_of_turn>", "<end_of_turn>"]
GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
LLAMA_2 = (
    "{% for message in messages %}{% if message.role == 'user' %}"
    "{{ bos_token }}[INST] {{ message.content | trim }} [/INST]{% else %}"
    " {{ message.content | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
    "[INST] {{ message.content }} [/INST]{% else %}"
    "{{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
ENDLESS = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
SPACE = "Ġ"  # how a byte-level vocabulary writes a space


def tokenizer(template, merges=()):
    """Bytes, a few merges and four special tokens: any text comes back as it went in."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*SPECIAL, *alphabet, *("".join(pair) for pair in merges)]
    inner = Tokenizer(
        models.BPE(vocab={token: n for n, token in enumerate(vocabulary)}, merges=list(merges))
    )
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=SPECIAL[2:],
        name_or_path="models/tiny",
    )
    made.chat_template = template
    return made


def chat(template, ends=("</s>",), merges=(), **settings):
    made = tokenizer(template, merges)
    return ChatFormat(made, tuple(made.convert_tokens_to_ids(list(ends))), **settings)


GEMMA_CHAT = chat(GEMMA, ends=("</s>", "<end_of_turn>"))
LLAMA_CHAT = chat(LLAMA_2)
MISTRAL_CHAT = chat(MISTRAL)
ANSWERS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1)


@pytest.mark.parametrize(
    ("format_", "expected"),
    [
        (GEMMA_CHAT, "<s><start_of_turn>user\nA name?<end_of_turn>\n<start_of_turn>model\n"),
        (LLAMA_CHAT, "<s>[INST] A name? [/INST]"),
        (MISTRAL_CHAT, "<s>[INST] A name? [/INST]"),
    ],
)
def test_the_model_reads_the_template_and_nothing_more(format_, expected):
    ids = format_.prompt_ids("A name?")
    assert format_.tokenizer.decode(ids) == expected
    assert ids.count(format_.tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("format_", [GEMMA_CHAT, LLAMA_CHAT, MISTRAL_CHAT])
@given(texts=ANSWERS)
def test_answers_come_back_as_they_went_in(format_, texts):
    answers = [f"{{{text}}}" for text in texts]
    for ids, answer in zip(format_.answer_ids("A name?", answers), answers, strict=True):
        assert ids[-1] in format_.end_tokens
        assert format_.decode(ids) == answer


@pytest.mark.parametrize(
    ("format_", "closing"),
    [(GEMMA_CHAT, "<end_of_turn>"), (LLAMA_CHAT, "</s>"), (MISTRAL_CHAT, "</s>")],
)
def test_an_answer_is_closed_by_the_end_token_that_the_template_writes(format_, closing):
    """Gemma's first end token is another one than its template writes."""
    [ids] = format_.answer_ids("A name?", ["{Ada}"])
    assert format_.tokenizer.convert_ids_to_tokens(ids[-1]) == closing


def test_the_text_of_an_answer_within_its_prompt_does_not_mislead_the_closing():
    [ids] = GEMMA_CHAT.answer_ids("Like this: {name}", ["{name}"])
    assert GEMMA_CHAT.tokenizer.convert_ids_to_tokens(ids[-1]) == "<end_of_turn>"


def test_a_template_that_writes_no_end_token_leaves_the_model_s_first():
    endless = chat(ENDLESS, ends=("<end_of_turn>", "</s>"))
    [ids] = endless.answer_ids("A name?", ["{Ada}"])
    assert endless.tokenizer.convert_ids_to_tokens(ids[-1]) == "<end_of_turn>"


def test_a_tokenizer_that_joins_template_and_answer_is_refused_in_one_line():
    joining = chat(MISTRAL, merges=[("]", "{")])
    with pytest.raises(InputError) as caught:
        joining.answer_ids("A name?", ["{Ada}"])
    assert str(caught.value) == (
        "models/tiny: the tokenizer joins the chat template's end with the answer '{Ada}'; "
        "set the model's leading_space to true"
    )


@pytest.mark.parametrize("merges", [[("]", "{")], [("]", "{"), (SPACE, "{")]])
def test_a_leading_space_mends_it(merges):
    """The space belongs to the answer: the model samples it, and it does not count in parsing."""
    mended = chat(MISTRAL, merges=merges, leading_space=True)
    assert mended.prompt_text("A name?") == "<s>[INST] A name? [/INST]"
    before = mended.prompt_ids("A name?")
    assert mended.tokenizer.decode(before) == "<s>[INST] A name? [/INST]"
    [ids] = mended.answer_ids("A name?", ["{Ada}"])
    assert [*before, *ids[:-1]] == mended.encode("<s>[INST] A name? [/INST] {Ada}")
    text = mended.decode(ids)
    assert text.strip() == "{Ada}"
    assert first_value(text) == "Ada"
    assert is_valid(text, ended=True)


OPENING = "{Ada Ley}\n{Female}\n"


@pytest.mark.parametrize("format_", [GEMMA_CHAT, LLAMA_CHAT, MISTRAL_CHAT])
def test_an_opening_is_read_whole_and_without_an_end(format_):
    [ids] = format_.opening_ids("A person?", [OPENING])
    assert format_.decode(ids) == OPENING
    assert not set(ids) & set(format_.end_tokens)


def test_an_opening_stops_where_the_next_value_would_change_its_tokens():
    """Here the last line's end and the next brace are one token: it is left to the model."""
    newline = "Ċ"  # how a byte-level vocabulary writes a new line
    joining = chat(LLAMA_2, merges=[(newline, "{"), ("}", newline)])
    between = chat(LLAMA_2, merges=[(newline, "{")])
    [ids] = between.opening_ids("A person?", [OPENING])
    assert between.decode(ids) == OPENING.removesuffix("\n")
    [ids] = joining.opening_ids("A person?", ["{A}\n"])
    assert ids == joining.encode("{A}\n{B}")[: len(ids)]


@given(value=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8))
def test_an_opening_begins_the_answer_whatever_its_next_value_is(value):
    """So that the loss on openings is that of beginnings which the model can write."""
    merging = chat(LLAMA_2, merges=[("Ċ", "{"), ("{", "A"), ("}", "Ċ")])
    [ids] = merging.opening_ids("A person?", [OPENING])
    whole = merging.encode(merging.prompt_text("A person?") + f"{OPENING}{{{value}}}")
    before = len(merging.prompt_ids("A person?"))
    assert whole[before : before + len(ids)] == ids
    assert ids


def test_an_opening_that_the_tokenizer_joins_with_the_template_is_refused():
    joining = chat(MISTRAL, merges=[("]", "{")])
    with pytest.raises(InputError, match="set the model's leading_space to true"):
        joining.opening_ids("A person?", [OPENING])
    mended = chat(MISTRAL, merges=[("]", "{")], leading_space=True)
    [ids] = mended.opening_ids("A person?", [OPENING])
    assert mended.decode(ids) == f" {OPENING}"


def test_a_tokenizer_without_a_chat_template_is_refused():
    with pytest.raises(InputError, match="models/tiny: the tokenizer has no chat template"):
        chat(None).prompt_ids("A name?")


def test_special_tokens_inside_an_answer_are_shown():
    """An answer with a stray token is not the answer without it."""
    ids = [
        *LLAMA_CHAT.encode("{A"),
        LLAMA_CHAT.tokenizer.bos_token_id,
        *LLAMA_CHAT.encode("}"),
        LLAMA_CHAT.end_tokens[0],
    ]
    assert LLAMA_CHAT.decode(ids) == "{A<s>}"


def test_only_the_last_end_token_is_left_out():
    ids = [*LLAMA_CHAT.encode("{A}"), LLAMA_CHAT.end_tokens[0], LLAMA_CHAT.end_tokens[0]]
    assert LLAMA_CHAT.decode(ids) == "{A}</s>"
    assert LLAMA_CHAT.decode(LLAMA_CHAT.encode("{A")) == "{A"
    assert LLAMA_CHAT.decode([]) == ""


def test_spaces_before_punctuation_are_kept():
    assert LLAMA_CHAT.decode(LLAMA_CHAT.encode("{A , b .}")) == "{A , b .}"
