"""What is measured at one shape and dtype: tuning passes and sampled answers, each in one cell."""

import gc
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from cost import BIOGRAPHY, TUNING
from paper import ROOT, encoded, paper_chat, parameters
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from diffuselm.config.config import PAPER_TASKS, TuneSettings
from diffuselm.methods.temperature import Temperature
from diffuselm.model.encoding import EncodedPrompt
from diffuselm.sampling.answers import Question
from diffuselm.sampling.tree_sampling import sample
from diffuselm.tasks.task_files import load_task
from diffuselm.tree.layouts import Layout, Packed, Padded
from diffuselm.tree.prefix_tree import PrefixTree, subtree
from diffuselm.tuning.loop import gradient, split

SETTINGS = TuneSettings()  # the paper's
TOKEN_BUDGET = 8192  # tokens of one packed pass, and of the answers that grow side by side
ROWS = 32  # padded rows of one pass, as in the authors' code
BATCH = 20  # rows of `generate`
ENTROPY = 1.5  # nats of the first token in the peaked case: 200 even names: 5.3, in 3 or 4
Trees = Sequence[Sequence[PrefixTree]]


def make_model(shape: PretrainedConfig, dtype: str, device: torch.device) -> PreTrainedModel:
    """A model with random weights, made on the device: 13B in float32 are 52 GB."""
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(shape, dtype=getattr(torch, dtype))
    # A model with random weights never means to end an answer.
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
    return model.eval()


@dataclass(frozen=True)
class Cell:
    """What one piece of work took; `seconds` is not a number where memory did not hold it."""

    work: str
    way: str
    tokens: int  # that forward passes read
    seconds: float
    memory: float  # peak, in GB; not a number on a CPU
    flops: float = math.nan

    @property
    def fits(self) -> bool:
        """Whether memory held it."""
        return not math.isnan(self.seconds)


def measured(work: str, way: str, run: Callable[[], int], device: torch.device) -> Cell:
    """Time `run`, which returns the tokens that it read."""
    on_gpu = device.type == "cuda"
    tokens, seconds, memory = 0, math.nan, math.nan
    try:
        if on_gpu:
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
        began = time.perf_counter()
        tokens = run()
        if on_gpu:
            torch.cuda.synchronize(device)
            memory = torch.cuda.max_memory_allocated(device) / 1e9
        seconds = time.perf_counter() - began
    except torch.OutOfMemoryError:
        pass
    freed()  # not in the handler, where the error still holds the frames that hold the memory
    print(f"{work or 'warm-up'}, {way}: {seconds:.2f} s", file=sys.stderr)
    return Cell(work, way, tokens, seconds, memory)


def freed() -> None:
    """Give back the memory of what is no longer used."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def train_pass(
    model: PeftModel, prompts: Sequence[EncodedPrompt], trees: Trees, way: Layout
) -> None:
    """One pass over the prompts as `tune` takes it: an optimiser step for each."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=SETTINGS.learning_rate, eps=SETTINGS.eps)
    for prompt, its in zip(prompts, trees, strict=True):
        optimizer.zero_grad()
        gradient(model, prompt, its, way)
        torch.nn.utils.clip_grad_norm_(trained, SETTINGS.max_grad_norm)
        optimizer.step()


def batches(prompt: EncodedPrompt, rows: int) -> list[PrefixTree]:
    """The prompt's targets, `rows` to a tree."""
    targets = range(len(prompt.tree.leaf))
    return [subtree(prompt.tree, targets[at : at + rows]) for at in targets[::rows]]


def tokens_read(prompt: EncodedPrompt, tree: PrefixTree, way: Layout) -> tuple[int, int]:
    """Tokens that a pass reads, padding included, and how many of them predict the next one."""
    rows, steps = 1, 1 + len(tree.inner)
    if way == Padded():
        rows, steps = len(tree.leaf), 1 + int(tree.depth.max())
    return rows * (len(prompt.tokens) - 1 + steps), rows * steps


def training(base: PreTrainedModel, prompts: Sequence[EncodedPrompt]) -> list[Cell]:
    """One pass over the prompts packed, then padded in batches that fit; in the paper's LoRA."""
    lora = LoraConfig(
        r=SETTINGS.rank, lora_alpha=SETTINGS.alpha, lora_dropout=SETTINGS.dropout,
        target_modules=list(SETTINGS.target_modules), task_type="CAUSAL_LM",
    )  # fmt: skip
    model = get_peft_model(base, lora).train()
    head = base.get_output_embeddings().weight.numel()
    body = parameters(base.config) - head

    def cell(name: str, way: Layout, trees: Trees) -> Cell:
        read = [
            tokens_read(prompt, tree, way)
            for prompt, its in zip(prompts, trees, strict=True)
            for tree in its
        ]
        tokens, predicting = map(sum, zip(*read, strict=True))

        def run(first: int | None = None) -> int:
            train_pass(model, prompts[:first], trees[:first], way)
            return tokens

        measured("", "", lambda: run(1), base.device)  # warm-up
        found = measured("training", name, run, base.device)
        return replace(found, flops=TUNING * (body * tokens + head * predicting))

    packed = [split(prompt, TOKEN_BUDGET, Packed()) for prompt in prompts]
    cells, size = [cell("packed", Packed(), packed)], ROWS
    while size:
        trees = [batches(prompt, size) for prompt in prompts]
        padded = cell(f"padded, {size} rows", Padded(), trees)
        size = 0 if padded.fits else size // 2
    return [*cells, padded]


def answers(base: PreTrainedModel, prompt: Sequence[int], draws: int, length: int) -> list[Cell]:
    """Answers of `length` tokens down the tree and by `generate`, at two entropies.

    At temperature 1 nearly every answer of random weights goes its own way: the tree's worst case.
    At the low one, answers share prefixes as those of a tuned model do.
    """

    def tree(n: int, heat: float) -> int:
        [drawn] = sample(base, [Question(prompt, n, 1)], end_tokens=(), max_tokens=length,
                         token_budget=TOKEN_BUDGET,
                         warp=Temperature(temperature=heat).warp)  # fmt: skip
        nodes = {draw.tokens[:size] for draw in drawn for size in range(1, length)}
        return len(prompt) + len(nodes)

    def generate(n: int, heat: float) -> int:
        for start in range(0, n, BATCH):
            ids = torch.tensor([list(prompt)] * min(BATCH, n - start), device=base.device)
            base.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0,
                          top_p=1.0, temperature=heat, max_new_tokens=length)  # fmt: skip
        return n * (len(prompt) + length - 1)

    cells = []
    for case, heat in (("random", 1.0), ("peaked", temperature_of(base, prompt, ENTROPY))):
        for name, way in (("tree", tree), (f"generate, {BATCH} rows", generate)):
            measured("", "", lambda way=way, heat=heat: way(BATCH, heat), base.device)  # warm-up
            run = partial(way, draws, heat)
            cells.append(measured(f"{case} answers", name, run, base.device))
    return cells


@torch.inference_mode()
def temperature_of(base: PreTrainedModel, prompt: Sequence[int], entropy: float) -> float:
    """The temperature at which the first token has this entropy, in nats."""
    ids = torch.tensor([list(prompt)], device=base.device)
    logits = base(ids, use_cache=False, logits_to_keep=1).logits[0, -1].double()
    low, high = 1e-4, 1.0
    for _ in range(40):
        middle = (low * high) ** 0.5
        found = torch.distributions.Categorical(logits=logits / middle).entropy().item()
        low, high = (middle, high) if found < entropy else (low, middle)
    return low


def biographies(base: PreTrainedModel, prompt: Sequence[int]) -> Cell:
    """Answers as long as a biography, as many side by side as the token budget holds."""

    def run() -> int:
        draws = (TOKEN_BUDGET - len(prompt)) // BIOGRAPHY
        sample(base, [Question(prompt, draws, 1)], end_tokens=(), max_tokens=BIOGRAPHY,
               token_budget=TOKEN_BUDGET)  # fmt: skip
        return len(prompt) + draws * (BIOGRAPHY - 1)

    return measured("biographies", "shared prompt", run, base.device)


def cells_of(
    shape: PretrainedConfig, dtype: str, device: torch.device, draws: int, length: int
) -> list[Cell]:
    """All that is measured of one shape and dtype; nothing where the model itself does not fit."""
    made: list[PreTrainedModel] = []

    def make() -> int:
        made.append(make_model(shape, dtype, device))
        return 0

    if not measured("", "", make, device).fits:
        return []
    chat = paper_chat()
    [base] = made
    tasks = [load_task(ROOT / "resources" / "tasks" / f"{task}.yaml") for task in PAPER_TASKS]
    prompts = [encoded(chat, prompt, seed=1) for task in tasks for prompt in task]
    names = prompts[0].tokens
    cells = [*answers(base, names, draws, length), biographies(base, names)]
    return [*cells, *training(base, prompts)]
