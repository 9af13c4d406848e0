"""Chat templates: where a prompt ends, where its answer begins, and what closes the answer."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from diffuselm.errors import InputError
from diffuselm.model.answers import first_value, is_valid
from diffuselm.model.chat import ANSWER, ChatFormat

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
# As Qwen 3: without thinking, the opening of the model's turn holds what past turns do not.
QWEN_3 = (
    "{% for message in messages %}<start_of_turn>{{ message.role }}\n{{ message.content }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>assistant\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
# As Qwen 2.5, which speaks for the system where nobody else does.
QWEN_2 = (
    "{% if messages[0].role != 'system' %}<start_of_turn>system\nYou help.<end_of_turn>\n"
    "{% endif %}" + QWEN_3
)
DATED = {
    "llama-3.2": (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
        "{% endif %}Today Date: {{ date_string }}\n" + LLAMA_2
    ),
    "smollm-3": "{% set today = strftime_now('%d %B %Y') %}Today Date: {{ today }}\n" + LLAMA_2,
}
CHAT_ML = (
    "{% for message in messages %}<start_of_turn>{{ message.role }}\n{{ message.content }}"
    "<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>assistant\n{% endif %}"
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
QWEN_3_CHAT = chat(QWEN_3, ["</s>", "<end_of_turn>"], template_args={"enable_thinking": False})
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
    before, after = format_.around("A name?")
    for ids, answer in zip(format_.answer_ids("A name?", answers), answers, strict=True):
        assert ids[-1] in format_.end_tokens
        assert format_.decode(ids) == before + answer + after


@pytest.mark.parametrize("merges", [(), [("]", "{"), (SPACE, "{"), ("}", SPACE)]])
def test_what_is_around_an_answer_is_what_the_template_writes_there(merges):
    """And is read as it is: Llama 2's vocabulary joins the prompt's end with a brace, too."""
    for template, end, around in (
        (GEMMA, "<end_of_turn>", ("", "")),
        (LLAMA_2, "</s>", (" ", " ")),
        (CHAT_ML, "<end_of_turn>", ("", "")),
    ):
        format_ = chat(template, [end], merges)
        assert format_.around("A name?") == around
        [ids] = format_.answer_ids("A name?", ["{Ada}"])
        turns = [{"role": "user", "content": "A name?"}, {"role": "assistant", "content": "{Ada}"}]
        written = format_.render(turns)
        assert [*format_.prompt_ids("A name?"), *ids] == format_.encode(written.rstrip("\n"))


def test_an_end_token_that_the_template_does_not_write_follows_the_answer_at_once():
    """As the paper's authors end Gemma's turns."""
    format_ = chat(GEMMA, ["</s>"])
    assert format_.around("A name?") == ("", "")
    assert format_.answer_ids("A name?", ["{Ada}"]) == [format_.encode("{Ada}</s>")]


@pytest.mark.parametrize(("override", "before"), [(None, " "), (True, " "), (False, "")])
def test_leading_space_overrides_what_the_template_writes_before_an_answer(override, before):
    format_ = chat(LLAMA_2, leading_space=override)
    assert format_.around("A name?") == (before, " ")
    [ids] = format_.answer_ids("A name?", ["{Ada}"])
    assert ids == format_.encode(f"{before}{{Ada}} </s>")
    assert chat(MISTRAL, leading_space=override).around("A name?")[0] == " " * bool(override)


def test_an_answer_that_is_not_to_end_has_nothing_after_it():
    assert LLAMA_CHAT.endless_ids("A name?", ["{Ada}"]) == [LLAMA_CHAT.encode(" {Ada}")]


def test_the_template_is_asked_once_for_all_answers(monkeypatch):
    asked, format_ = [], chat(LLAMA_2)
    render = ChatFormat.render
    counted = lambda *words, **named: asked.append(1) or render(*words, **named)  # noqa: E731
    monkeypatch.setattr(ChatFormat, "render", counted)
    format_.answer_ids("A name?", [f"{{{n}}}" for n in range(500)])
    assert len(asked) < 5


def test_a_prompt_that_holds_what_stands_for_an_answer_does_not_mislead():
    for format_ in (LLAMA_CHAT, QWEN_3_CHAT):
        assert format_.around(f"Like {ANSWER} {ANSWER}</s>") == format_.around("A name?")


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


def test_a_leading_space_that_joins_with_the_template_is_refused_too():
    joining = chat(MISTRAL, merges=[("]", SPACE)], leading_space=True)
    with pytest.raises(InputError, match="leading_space to false, or a chat_template that ends"):
        joining.answer_ids("A name?", ["{Ada}"])


OPENING = "{Ada Ley}\n{Female}\n"


@pytest.mark.parametrize("format_", [GEMMA_CHAT, LLAMA_CHAT, MISTRAL_CHAT])
def test_an_opening_is_read_whole_and_without_an_end(format_):
    [ids] = format_.opening_ids("A person?", [OPENING])
    assert format_.decode(ids) == format_.around("A person?")[0] + OPENING
    assert not set(ids) & set(format_.end_tokens)


def test_an_opening_stops_where_the_next_value_would_change_its_tokens():
    """Here the last line's end and the next brace are one token: it is left to the model."""
    newline = "Ċ"  # how a byte-level vocabulary writes a new line
    joining = chat(LLAMA_2, merges=[(newline, "{"), ("}", newline)])
    between = chat(LLAMA_2, merges=[(newline, "{")])
    [ids] = between.opening_ids("A person?", [OPENING])
    assert between.decode(ids) == " " + OPENING.removesuffix("\n")
    [ids] = joining.opening_ids("A person?", ["{A}\n"])
    assert ids == joining.encode(" {A}\n{B}")[: len(ids)]


def test_an_opening_without_a_line_break_goes_on_with_one():
    """The authors' have none: it is the model's to write."""
    [ids] = chat(LLAMA_2, merges=[("}", "{")]).opening_ids("A person?", ["{A}"])
    assert ids == LLAMA_CHAT.encode(" {A}")
    joining = chat(LLAMA_2, merges=[("}", "Ċ")])
    assert joining.decode(joining.opening_ids("A person?", ["{A}"])[0]) == " {A"


@given(value=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8))
def test_an_opening_begins_the_answer_whatever_its_next_value_is(value):
    """So that the loss on openings is that of beginnings which the model can write."""
    merging = chat(LLAMA_2, merges=[("Ċ", "{"), ("{", "A"), ("}", "Ċ")])
    [ids] = merging.opening_ids("A person?", [OPENING])
    whole = merging.encode(merging.prompt_text("A person?") + f" {OPENING}{{{value}}}")
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


def refusal(caught):
    line = str(caught.value)
    assert line.startswith("models/tiny: ")
    assert "\n" not in line
    return line.removeprefix("models/tiny: ")


def test_a_tokenizer_without_a_chat_template_is_refused_with_the_key_to_set():
    with pytest.raises(InputError) as caught:
        chat(None).prompt_ids("A name?")
    assert refusal(caught) == (
        "the tokenizer has no chat template; expected one in chat_template.jinja or "
        "tokenizer_config.json, or the model's chat_template set to a Jinja file"
    )


def test_a_model_told_not_to_think_answers_after_its_closed_thoughts(caplog):
    """Past turns hold no thoughts, so the prompt does not begin them; the end is still found."""
    format_ = replace(QWEN_3_CHAT)
    before = format_.prompt_text("A name?")
    assert before.endswith("<start_of_turn>assistant\n<think>\n\n</think>\n\n")
    turns = [{"role": "user", "content": "A name?"}, {"role": "assistant", "content": "{Ada}"}]
    assert not format_.render(turns).startswith(before)
    [ids] = format_.answer_ids("A name?", ["{Ada}"])
    whole = format_.encode(f"{before}{{Ada}}<end_of_turn>")
    assert [*format_.prompt_ids("A name?"), *ids] == whole
    [told] = caplog.messages
    assert "\n" not in told
    assert told.startswith("models/tiny: the chat template does not open a new turn as it writes")
    assert format_.around("A place?") == ("", "")
    format_.opening_ids("A person?", [OPENING])
    assert caplog.messages == [told]
    assert "think" not in chat(QWEN_3).prompt_text("A name?")


@pytest.mark.parametrize(
    ("format_", "telling"), [(CHAT_ML, False), (LLAMA_2, False), (ENDLESS, True)]
)
def test_only_templates_that_open_turns_otherwise_are_told_of(format_, telling, caplog):
    """One that writes a past turn's heading, but no new one's, too: no answer begins with it."""
    assert chat(format_, ["<end_of_turn>"]).around("A name?")[0].strip() == ""
    assert bool(caplog.messages) == telling


def test_arguments_of_the_template_reach_the_prompt_and_the_closing():
    template = "{% for message in messages %}{{ message.content }}{{ ending }}{% endfor %}"
    format_ = chat(template, ["</s>", "<end_of_turn>"], template_args={"ending": "<end_of_turn>"})
    assert format_.prompt_text("A name?") == "A name?<end_of_turn>"
    [ids] = format_.answer_ids("A name?", ["{Ada}"])
    assert ids[-1] == format_.end_tokens[1]


@pytest.mark.parametrize("name", ["tokenize", "add_generation_prompt", "messages", "chat_template"])
def test_an_argument_that_the_program_sets_is_refused(name):
    with pytest.raises(InputError) as caught:
        chat(GEMMA, template_args={name: True})
    assert refusal(caught).startswith(f"template_args: {name} is set by the program; expected")


@pytest.mark.parametrize("name", ["enable_thinkin", "date_string"])
def test_an_argument_that_the_template_does_not_read_is_refused(name):
    """A misspelt one would pass unseen."""
    with pytest.raises(InputError) as caught:
        chat(QWEN_3, template_args={name: False})
    assert refusal(caught).startswith(f"template_args: {name} is nowhere in the chat template")


@pytest.mark.parametrize("template", DATED.values(), ids=DATED)
def test_a_template_that_would_write_today_s_date_is_refused_until_given_one(template):
    with pytest.raises(InputError) as caught:
        chat(template).prompt_text("A name?")
    assert "today's date; set a fixed date_string in the model's template_args" in refusal(caught)
    fixed = chat(template, template_args={"date_string": "26 Jul 2024"})
    assert fixed.prompt_text("A name?") == "Today Date: 26 Jul 2024\n<s>[INST] A name? [/INST]"
    assert fixed.around("A name?") == (" ", " ")


@pytest.mark.parametrize(
    "head", ["", "\n", "  {% if true %}\n x{% endif %}", "{#- a -#}\n b", " \n"]
)
def test_all_else_is_rendered_as_the_tokenizer_renders_it(head):
    format_ = chat(head + GEMMA)
    turns = [{"role": "user", "content": "A name?"}]
    assert format_.prompt_text("A name?") == format_.tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True
    )


def test_a_template_without_a_system_role_is_never_sent_one():
    strict = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}" + GEMMA
    )
    format_ = chat(strict, ["<end_of_turn>"])
    assert format_.answer_ids("A name?", ["{Ada}"]) == [[*format_.encode("{Ada}<end_of_turn>")]]
    with pytest.raises(InputError) as caught:
        format_.render([{"role": "system", "content": "You help."}])
    assert refusal(caught) == (
        "the chat template refuses turns of system (System role not supported); expected it to "
        "write them"
    )


def test_a_template_s_own_system_prompt_is_read():
    prompt = chat(QWEN_2).prompt_text("A name?")
    assert prompt.startswith("<start_of_turn>system\nYou help.<end_of_turn>\n<start_of_turn>user\n")


@pytest.mark.parametrize(
    "template",
    [
        "{% if %}",
        "{{ 'a' + 1 }}",
        "{{ raise_exception('first\nsecond') }}",
        "{{ nothing.at.all }}",
        {"tool_use": GEMMA, "rag": GEMMA},
    ],
)
def test_a_template_that_fails_is_refused_in_one_line(template):
    with pytest.raises(InputError) as caught:
        chat(template).prompt_text("A name?")
    assert refusal(caught).startswith("the chat template refuses turns of user (")


def test_a_template_that_leaves_the_answer_out_is_refused():
    """What it would close the answer with would be a guess."""
    with pytest.raises(InputError) as caught:
        chat("{{ messages[0].content }}").answer_ids("A name?", ["{Ada}"])
    assert refusal(caught).startswith(
        "the chat template does not write the model's answer; expected it"
    )


def test_a_tokenizer_that_adds_the_beginning_itself_adds_no_second_one():
    format_ = chat(GEMMA)
    beginning = ("<s>", format_.tokenizer.bos_token_id)
    adding = processors.TemplateProcessing(single="<s> $A", special_tokens=[beginning])
    format_.tokenizer.backend_tokenizer.post_processor = adding
    assert format_.tokenizer("A")["input_ids"].count(beginning[1]) == 1
    assert format_.prompt_ids("A name?").count(beginning[1]) == 1


def test_an_answer_that_the_tokenizer_respells_is_refused():
    """Its value would never be found among the sampled ones."""
    format_ = chat(LLAMA_2)
    format_.tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    with pytest.raises(InputError) as caught:
        format_.answer_ids("A name?", ["{Zoë}", "{Zoe\u0308}"])
    assert refusal(caught).startswith(
        "the answer ' {Zoe\u0308} ' comes back from the tokenizer as ' {Z"
    )


def test_an_answer_with_an_end_token_inside_is_refused():
    with pytest.raises(InputError) as caught:
        LLAMA_CHAT.answer_ids("A name?", ["{A</s>B}"])
    assert refusal(caught).startswith("the answer '{A</s>B}' holds an end token")


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
