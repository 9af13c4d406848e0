"""Time 1,000 answers to the names prompt: down the tree, and as transformers would draw them.

    python tests/benchmarks/sampling.py [--model FOLDER] [--adapter FOLDER] [--draws N] …

The ways run in turn in this one process, at temperature 1: down the tree, by `generate` in batches
of 20, with `--continuous` by continuous batching (`generate_batch`), and with `--gguf` by
llama.cpp, through the binding of which there is a wheel: `pip install --no-deps xllamacpp`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

import gguf
import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from diffuselm.config.config import SampleSettings
from diffuselm.model.adapters import load_adapter
from diffuselm.model.chat import ChatFormat
from diffuselm.model.opening import load_chat_format, load_model
from diffuselm.sampling.answers import Question
from diffuselm.sampling.tree_sampling import sample
from diffuselm.tasks.task_files import load_task
from diffuselm.tree.token_budget import tokens_that_fit

BATCH = 20
MAX_TOKENS = SampleSettings().max_tokens


def tree_answers(
    model: PreTrainedModel, chat: ChatFormat, prompt: Sequence[int], draws: int, seed: int
) -> list[str]:
    """Answers sampled down the prefix tree."""
    [answers] = sample(
        model,
        [Question(prompt, draws, seed)],
        end_tokens=chat.end_tokens,
        max_tokens=MAX_TOKENS,
        token_budget=tokens_that_fit(model, training=False),
    )
    return [chat.decode(answer.tokens) for answer in answers]


def generated_answers(
    model: PreTrainedModel, chat: ChatFormat, prompt: Sequence[int], draws: int, seed: int
) -> list[str]:
    """Answers of `generate`, in batches of 20 rows, each cut behind its end token."""
    torch.manual_seed(seed)
    answers = []
    for start in range(0, draws, BATCH):
        ids = torch.tensor([list(prompt)] * min(BATCH, draws - start))
        rows = model.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=_plain(chat)
        )
        for row in rows[:, len(prompt) :].tolist():
            ends = [at for at, token in enumerate(row, 1) if token in chat.end_tokens]
            answers.append(chat.decode(row[: ends[0]] if ends else row))
    return answers


def continuous_answers(
    model: PreTrainedModel, chat: ChatFormat, prompt: Sequence[int], draws: int, seed: int
) -> list[str]:
    """Answers of transformers' continuous batching, which reads a prompt for each."""
    torch.manual_seed(seed)
    found = model.generate_batch([list(prompt)] * draws, generation_config=_plain(chat))
    return [chat.decode(answer.generated_tokens) for answer in found.values()]


def llama_cpp(
    weights: Path, adapter: Path | None, config: PreTrainedConfig, threads: int
) -> Callable[..., list[str]]:
    """Answers of llama.cpp's server, 20 at a time, with the weights and the adapter given to it."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.verbosity = str(weights), 0
    params.n_parallel, params.n_ctx = BATCH, BATCH * 256
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        if adapter:
            write_adapter_gguf(Path(file.name), adapter, config)
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(file.name, 1.0)]
        server = xllamacpp.Server(params)

    def answers(_: Any, chat: ChatFormat, prompt: Sequence[int], draws: int, seed: int) -> list:
        asked = {"prompt": list(prompt), "max_tokens": MAX_TOKENS, "temperature": 1.0,
                 "top_k": 0, "top_p": 1.0, "min_p": 0.0, "cache_prompt": True}  # fmt: skip
        requests = ({**asked, "seed": seed * draws + number} for number in range(draws))
        with ThreadPoolExecutor(BATCH) as pool:
            found = list(pool.map(server.handle_completions, requests))
        return [each["choices"][0]["text"] for each in found]

    return answers


def write_adapter_gguf(out: Path, adapter: Path, config: PreTrainedConfig) -> None:
    """A LoRA adapter of a Llama as llama.cpp reads it, whose rotary dimensions lie side by side."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    alpha = json.loads((adapter / "adapter_config.json").read_text())["lora_alpha"]
    writer.add_float32("adapter.lora.alpha", float(alpha))
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for key, tensor in load_file(adapter / "adapter_model.safetensors").items():
        module, which, _ = key.removeprefix("base_model.model.").rsplit(".", 2)
        if which == "lora_B" and (count := heads.get(module.rpartition(".")[2])):
            halves = tensor.reshape(count, 2, -1, tensor.shape[1])
            tensor = halves.swapaxes(1, 2).reshape(tensor.shape)
        name = f"{names.get_name(module)}.weight.{which.lower()}"
        writer.add_tensor(name, np.ascontiguousarray(tensor, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _plain(chat: ChatFormat) -> GenerationConfig:
    """Temperature 1, nothing cut."""
    return GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=MAX_TOKENS,
        eos_token_id=list(chat.end_tokens),
        pad_token_id=chat.end_tokens[0],
    )


def main() -> None:
    """Read the arguments, time the ways in turn, and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "resources" / "models" / "tiny-gemma")
    parser.add_argument("--adapter", type=Path, help="of a tuned model")
    parser.add_argument("--continuous", action="store_true", help="also time generate_batch")
    parser.add_argument("--gguf", type=Path, help="also time llama.cpp, with these weights")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.model, dtype="float32", device="cpu")
    chat = load_chat_format(arguments.model, model.generation_config.eos_token_id)
    if arguments.adapter:
        model = load_adapter(model, arguments.adapter)
    [task] = load_task(ROOT / "resources" / "tasks" / "names.yaml")
    prompt = chat.prompt_ids(task.text)
    ways = {"tree": tree_answers, f"generate, {BATCH} rows": generated_answers}
    if arguments.continuous:
        ways["generate_batch"] = continuous_answers
    if arguments.gguf:
        ways["llama.cpp"] = llama_cpp(
            arguments.gguf, arguments.adapter, model.config, arguments.threads
        )
    for way in ways.values():
        way(model, chat, prompt, BATCH, seed=0)  # warm-up
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    print(f"{arguments.model.name}: {arguments.draws} answers to {task.id}")
    for seed in range(1, arguments.repeats + 1):
        for name, way in ways.items():
            began = time.process_time()
            answers = way(model, chat, prompt, arguments.draws, seed)
            seconds[name].append(time.process_time() - began)
            [(top, count)] = Counter(answers).most_common(1)
            print(
                f"  {name:20} {seconds[name][-1]:8.3f} CPU s, {len(set(answers))} distinct, "
                f"{top!r} {count / len(answers):.1%}"
            )
    tree, *others = (statistics.median(taken) for taken in seconds.values())
    for name, taken in zip(list(ways)[1:], others, strict=True):
        print(f"  the tree takes {taken / tree:.1f} times less than {name} (medians)")


if __name__ == "__main__":
    main()
