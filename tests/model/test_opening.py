"""The record of a model: a folder that cannot be used is one line, before anything is trained."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffuselm.errors import InputError
from diffuselm.files.provenance import file_hash
from diffuselm.model.opening import load_model, open_model
from records import write_record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(ROOT / "resources/models/tiny-llama", tmp_path / "model")


def record(folder, **settings):
    return write_record(folder.parent / "record.json", folder, **settings)


def opened(folder, **settings):
    record(folder, **settings)
    return open_model(folder.parent / "record.json")


def test_the_record_holds_the_hash_of_every_file_that_decides_an_answer(folder):
    files = record(folder)["files"]
    assert set(files) == {path.name for path in folder.iterdir()}
    assert files["model.safetensors"] == file_hash(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        ("config.json", "config.json: no such file"),
        ("model.safetensors", r"no \*\.safetensors file"),
        ("tokenizer.json", "no tokenizer.json or tokenizer.model"),
        ("chat_template.jinja", "no chat template"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused(folder, missing, line):
    (folder / missing).unlink()
    with pytest.raises(InputError, match=line) as error:
        record(folder)
    assert "\n" not in str(error.value)
    assert not (folder.parent / "record.json").exists()


def test_a_model_that_never_ends_an_answer_is_refused(folder):
    (folder / "generation_config.json").write_text("{}")
    with pytest.raises(InputError, match="no eos_token_id"):
        record(folder)


def test_a_config_that_is_no_object_is_refused(folder):
    (folder / "config.json").write_text("[1]")
    with pytest.raises(InputError, match="holds a list; expected a JSON object"):
        record(folder)


def test_weights_cut_short_are_one_line(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(folder, dtype="float32", device="cpu")


def test_weights_that_lack_a_tensor_are_refused_not_filled_with_noise(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"the weights lack model\.norm\.weight \(of 1\)"):
        load_model(folder)


def test_weights_in_pickle_are_refused(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(folder)


def test_code_of_a_model_s_own_is_never_run(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match="cannot be loaded") as error:
        load_model(folder)
    assert "\n" not in str(error.value)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_is_opened_as_its_record_says(folder, dtype, attention):
    model = opened(folder, dtype=dtype, attention=attention)
    assert model.model.dtype == getattr(torch, dtype)
    assert model.model.config._attn_implementation == attention
    assert model.used["dtype"] == dtype


def test_on_a_cpu_a_model_is_float32_unless_the_config_says_otherwise(folder):
    assert opened(folder).model.dtype == torch.float32


def test_end_tokens_and_the_chat_template_can_be_the_user_s_own(folder, tmp_path):
    template = tmp_path / "own.jinja"
    template.write_text(
        "{% for m in messages %}<s>{{ m.role }} ({{ mood }}): {{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant: {% endif %}"
    )
    (folder / "chat_template.jinja").unlink()
    (folder / "generation_config.json").unlink()
    settings = {"template": template, "template_args": {"mood": "calm"}, "end_tokens": ["<s>"]}
    chat = opened(folder, **settings).chat
    template.unlink()  # the record holds its text
    assert chat.prompt_text("A name?") == "<s>user (calm): A name?</s><s>assistant: "
    assert chat.end_tokens == (chat.tokenizer.convert_tokens_to_ids("<s>"),)


def test_an_end_token_that_the_tokenizer_lacks_is_refused(folder):
    with pytest.raises(InputError, match="end_tokens: the tokenizer has no token '<eot>'"):
        opened(folder, end_tokens=["<eot>"])


def test_a_model_folder_that_is_gone_is_named(folder):
    record(folder)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=rf"no folder {folder}; expected the model"):
        open_model(folder.parent / "record.json")


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_four_bits_without_their_library_are_one_line(folder):
    with pytest.raises(InputError, match="bitsandbytes is not installed"):
        opened(folder, four_bit=True)


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
def test_a_model_in_four_bits_is_tuned_and_scored(folder):
    model = opened(folder, four_bit=True, dtype="float32")
    assert model.model.is_quantized
    ids = model.chat.prompt_ids("A name?")
    logits = model.model(input_ids=torch.tensor([ids])).logits
    plain = load_model(folder)(input_ids=torch.tensor([ids])).logits
    assert 0 < (logits - plain).abs().mean() < 0.5 * plain.std()
