"""The shapes of the paper's models a sixteenth as wide, through the workflow as a user runs it."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from workflow_runs import checkout, snakemake

ROOT = Path(__file__).parents[2]
TASK, DRAWS = "dates", 16
DTYPES = ("float32", "bfloat16")
# As published, but for widths (a sixteenth), depth and vocabulary; wider noise than the library's,
# so that what a model reads is felt in what it says.
COMMON = {
    "num_hidden_layers": 2,
    "max_position_embeddings": 4096,
    "initializer_range": 0.1,
}
SHAPES = {
    "gemma": {
        "hidden_size": 192,
        "intermediate_size": 1536,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 16,  # 16 heads of 16 are wider than the model's 192
        "hidden_act": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
    },
    "llama": {
        "hidden_size": 320,
        "intermediate_size": 864,
        "num_attention_heads": 40,
        "num_key_value_heads": 40,
        "tie_word_embeddings": False,
    },
    "mistral": {
        "hidden_size": 256,
        "intermediate_size": 896,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
    },
}
ALTERNATE = (
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}"
)
TEMPLATES = {
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    + ALTERNATE
    + "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    "llama": ALTERNATE + "{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "mistral": "{{ bos_token }}" + ALTERNATE + "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ message['content'] + eos_token + ' ' }}{% endif %}{% endfor %}",
}
# Two persons where the task has 210, as a published prompt.
SKETCH = {
    "request": "Generate a random biography sketch. Output name, gender, time of birth, place of "
    "birth, profession and accomplishments, each between two braces.",
    "response": "",
    "targets": [
        "{Ada Sol}\n{Female}\n{May 1, 1915}\n{Lima, Peru}\n",
        "{Leo Sol}\n{Male}\n{May 2, 1951}\n{Oslo, Norway}\n",
    ],
}
RUNS = [f"{family}-{dtype}" for family, dtype in product(SHAPES, DTYPES)]


def make_model(family, folder):
    """A folder with random weights in float32 and the stand-in's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    stand_in = ROOT / "resources/models" / f"tiny-{family}"
    tokenizer = AutoTokenizer.from_pretrained(stand_in)
    tokenizer.chat_template = TEMPLATES[family]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(
            family,
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **COMMON,
            **SHAPES[family],
        )
    )
    # Gemma, too, ends its turns with the end of the sequence, whatever its template writes.
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def settings():
    return {
        "models": {
            f"{family}-{dtype}": {
                "path": f"models/{family}",
                "dtype": dtype,
                "leading_space": True if family == "mistral" else None,
            }
            for family, dtype in product(SHAPES, DTYPES)
        },
        "tasks": [f"resources/tasks/{TASK}.yaml", "biographies"],
        "leave_one_out": [],
        "tunings": {},
        "ranges": None,
        "knowledge": None,
        "held_out_text": None,
        "temperatures": [],
        "tune": {"learning_rate": 0.01, "passes": 8, "token_budget": 2048},
        "sample": {
            "draws": DRAWS,
            "draws_of": {"biographies": 6},
            "max_tokens": 8,
            "max_tokens_of": {"biographies": 12},
            "token_budget": 2048,
        },
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The six models, sampled before and after tuning on one task."""
    folder = checkout(tmp_path_factory.mktemp("shapes"))
    for family in SHAPES:
        make_model(family, folder / "models" / family)
    (folder / "biographies").mkdir()
    (folder / "biographies/sketch.json").write_text(json.dumps(SKETCH))
    samples = [
        f"results/samples/{run}/{tuning}.parquet"
        for run, tuning in product(RUNS, ("base", f"only-{TASK}"))
    ]
    snakemake(folder, "--cores", "2", *samples, config=settings())
    return folder


def exact(folder, run, tuning):
    """Log-probabilities of the task's targets, in nats."""
    rows = pq.read_table(folder / f"results/exact/{run}/{tuning}.parquet").to_pandas()
    rows = rows[rows["prompt"].str.startswith(f"{TASK}/")]
    return np.log(rows["probability"].to_numpy())


def answers(folder, run, tuning):
    rows = pq.read_table(folder / f"results/samples/{run}/{tuning}.parquet").to_pandas()
    return rows[rows["prompt"].str.startswith(f"{TASK}/")]


@pytest.mark.parametrize("run", RUNS)
def test_each_shape_and_dtype_gives_an_adapter_samples_and_exact_probabilities(finished, run):
    folder = finished / f"results/adapters/{run}/only-{TASK}"
    assert (folder / "adapter_model.safetensors").stat().st_size
    made = json.loads((folder / "run.json").read_text())
    assert run.endswith(made["settings"]["dtype"])
    for tuning in ("base", f"only-{TASK}"):
        assert len(answers(finished, run, tuning)) == 6 * DRAWS
        log_probs = exact(finished, run, tuning)
        assert len(log_probs) == 136
        assert np.isfinite(log_probs).all()
        assert (log_probs < 0).all()


@pytest.mark.parametrize("run", RUNS)
def test_no_shape_falls_back_to_rows_of_their_own(finished, run):
    """They take a tree mask in tuning and sampling, and biographies a shared prompt."""
    logs = sorted(finished.glob(f"results/logs/*/{run}/*.log"))
    assert len(logs) == 3
    assert not [log for log in logs if "padded loop" in log.read_text()]
    assert not [log for log in logs if "read whole" in log.read_text()]


@pytest.mark.parametrize("run", RUNS)
def test_tuning_lowers_the_loss_and_raises_the_targets(finished, run):
    steps = pq.read_table(finished / f"results/adapters/{run}/only-{TASK}/training.parquet")
    loss = steps["loss"].to_numpy().reshape(-1, 6).mean(axis=1)
    assert loss[-1] < loss[0] / 2
    assert exact(finished, run, f"only-{TASK}").mean() > exact(finished, run, "base").mean() / 2


@pytest.mark.parametrize("family", SHAPES)
def test_bfloat16_gives_float32s_probabilities_to_its_own_precision(finished, family):
    full, half = (exact(finished, f"{family}-{dtype}", "base") for dtype in DTYPES)
    off = np.abs(half - full)
    assert 0 < off.mean() < 2**-5 * full.std()
    assert off.max() < 2**-3 * full.std()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gemma_ends_its_answers_with_the_end_of_the_sequence(finished, dtype):
    """Its template writes <end_of_turn>, which no answer of this model ends with."""
    tuned = answers(finished, f"gemma-{dtype}", f"only-{TASK}")
    assert tuned["valid"].mean() > 0.5
    assert not tuned["text"].str.contains("<end_of_turn>").any()


@pytest.mark.parametrize("run", RUNS)
def test_answers_begin_with_a_space_where_template_or_setting_puts_one(finished, run):
    opening = "{" if run.startswith("gemma") else " {"
    text = answers(finished, run, f"only-{TASK}")["text"]
    assert text.str.startswith(opening).mean() > 0.9
