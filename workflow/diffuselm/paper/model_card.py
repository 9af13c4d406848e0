"""Model cards: what an adapter was tuned on, what that changed, and how it is loaded."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import ModelCardData

from diffuselm.paper.comparison import Key, ModelRecord, Number
from diffuselm.paper.table_files import DASH, escape_markdown

# Metric -> its title, digits, and whether it was sampled and so has an interval.
METRICS = {
    "coverage": ("coverage", 1, True),
    "entropy": ("entropy", 2, True),
    "target_mass": ("target mass", 3, False),
    "kl": ("KL divergence", 3, False),
}
LONGEST = 320  # tokens of an answer: room for a biography
NOTES = """\
Means over each task's prompts. Coverage is the number of distinct answers to a prompt (Eq. 4),
entropy that of their empirical distribution (Eq. 3), both of n answers in all at temperature 1;
in parentheses, 95% intervals. Target mass is the probability that an answer is a target, KL
divergence that of the model from the target distribution (Eq. 2); both are exact, over n targets.
Logarithms are natural.
"""
BEFORE = {
    "base": "Before: the base model, under the same seed.\n",
    "form": "Before: the base model, taught the asked form on questions with one answer (tuning "
    "`form`), under the same seed. Biographies, before and after, are held to the form: tokens "
    "that break it are masked as they are drawn.\n",
    "raw": "Before: the base model as it is. It does not keep the asked form: the spread of its "
    "answers says nothing and is left out.\n",
}
CITATION = """\
## Citation

```bibtex
@inproceedings{{zhang2024forcing,
  title = {{Forcing Diffuse Distributions out of Language Models}},
  author = {{Zhang, Yiming and Schwarzschild, Avi and Carlini, Nicholas and Kolter, Zico and
            Ippolito, Daphne}},
  booktitle = {{Conference on Language Modeling (COLM)}},
  year = {{2024}}
}}

@software{{diffuselm,
  title = {{diffuselm: Forcing Diffuse Distributions out of Language Models, as a workflow}},
  author = {{{{the diffuselm authors}}}},
  version = {{{version}}},
  license = {{MIT}}
}}
```
"""


@dataclass(frozen=True)
class TunedPrompt:
    """A prompt that an adapter was tuned on, and how many targets it has."""

    id: str
    text: str
    targets: int


def adapter_card(
    *,
    folder: Path,
    run: Mapping[str, Any],
    training: pd.DataFrame,
    prompts: Sequence[TunedPrompt],
    numbers: Mapping[Key, Number],
    shown: ModelRecord,
    start: str | None,
) -> str:
    """The card of the adapter in `folder`, as Markdown under the hub's YAML header.

    `run` is its run.json, `training` its steps (`contracts.TRAINING`), `prompts` what it was tuned
    on. `numbers` are the metrics of its seed, its own and those that it is compared with, as
    `shown` says. `start` names the
    adapter that it was trained further from, if any.
    """
    record, tuning = run["model"], run["settings"]["tuning"]
    further = f"Trained further from the adapter {escape_markdown(start or '')}."
    return _document(
        _header(record, library="peft", relation="adapter"),
        *_opening(run, "LoRA adapter"),
        *([further] if start else []),
        "## Tuned on",
        _table(("prompt", "text", "targets"), [(p.id, p.text, p.targets) for p in prompts]),
        "## Settings",
        _table(("setting", "value"), _settings(run, training)),
        "## Before and after",
        _measured(numbers, shown, tuning, [prompt.id for prompt in prompts]),
        "## Use",
        *_use_of_adapter(folder, run, prompts[0]),
        *_closing(run),
    )


def merged_card(*, folder: Path, run: Mapping[str, Any], dtype: str) -> str:
    """The card of a model in `folder`, merged from the adapter whose run.json is `run`."""
    files = _table(("file of the adapter", "SHA-256"), run["files"].items())
    return _document(
        _header(run["model"], library="transformers", relation="finetune"),
        *_opening(run, "LoRA adapter, merged into its base model"),
        f"Merged in float32 and stored in {dtype}. The adapter's own card has what was measured.",
        files,
        "## Tuned on",
        _table(("prompt",), [(prompt,) for prompt in run["settings"]["prompts"]]),
        "## Use",
        *_use_of_merged(folder, run),
        *_closing(run),
    )


def _document(header: str, *blocks: str) -> str:
    return "\n\n".join([f"---\n{header}\n---", *(block.strip("\n") for block in blocks)]) + "\n"


def _header(record: Mapping[str, Any], *, library: str, relation: str) -> str:
    """The hub's metadata; it knows base models by their ids alone, so a local one is left out."""
    on_hub = record["hub"] is not None
    return ModelCardData(
        base_model=record["hub"],
        base_model_relation=relation if on_hub else None,
        library_name=library,
        pipeline_tag="text-generation",
        tags=["diffuse-distributions", "lora"],
    ).to_yaml(line_break="\n")


def _opening(run: Mapping[str, Any], what: str) -> Iterator[str]:
    """Title, what it is, and what the base model is."""
    record, tuning = run["model"], escape_markdown(run["settings"]["tuning"])
    name = escape_markdown(record["model"])
    yield f"# {name}, tuned on {tuning}"
    yield (
        f"A {what}: it spreads the answers of {name} as the target sets of the tuning {tuning} are "
        "spread, by the distribution matching of *Forcing Diffuse Distributions out of Language "
        "Models* (Zhang et al., COLM 2024)."
    )
    if record["stand_in"]:
        counterpart = record["paper_model"]
        of = f" of the paper's {escape_markdown(counterpart)}" if counterpart else ""
        yield (
            f"**A stand-in**: the base model is a tiny one that this project builds, in place{of}. "
            "It shows how the method works and is of no other use."
        )
    if record["hub"]:
        link = f"[{escape_markdown(record['hub'])}](https://huggingface.co/{record['hub']})"
        yield f"Base model: {link}, revision {escape_markdown(str(record['revision']))}."
    else:
        yield f"Base model: the local folder {escape_markdown(record['path'])}."
        yield _table(("file", "SHA-256"), record["files"].items())


def _settings(run: Mapping[str, Any], training: pd.DataFrame) -> Iterator[tuple[str, object]]:
    settings, steps = run["settings"], len(training)
    passes = math.ceil(steps / len(settings["prompts"]))
    last = training.tail(len(settings["prompts"]))
    four_bit, ratio = run["model"]["settings"]["four_bit"], settings["stop_ratio"]
    adam = f"AdamW, eps {settings['eps']:g}, gradients clipped at {settings['max_grad_norm']:g}"
    stop = "none" if ratio is None else f"at {ratio:g} x the entropy of the targets"
    yield "rank", settings["rank"]
    yield "alpha", settings["alpha"]
    yield "dropout", f"{settings['dropout']:g}"
    yield "projections", ", ".join(settings["target_modules"])
    yield "optimiser", adam
    yield "learning rate", f"{settings['learning_rate']:g}"
    yield "passes", f"{passes} of at most {settings['passes']}"
    yield "early stop", stop
    yield "steps", steps
    yield "loss of the last pass", f"{last['loss'].sum():.3f} nats"
    yield "least possible loss", f"{last['optimal'].sum():.3f} nats"
    yield "seed", run["seed"]
    yield "base weights", "4 bits (NF4)" if four_bit else settings["dtype"]


def _measured(
    numbers: Mapping[Key, Number], shown: ModelRecord, tuning: str, tuned_on: Sequence[str]
) -> str:
    """A row for each task and metric, then for the prompts tuned on if they are not all of it."""
    own = [
        key
        for key in numbers
        if key[:2] == (shown.model, shown.measured_tuning(tuning, key[2])) and key[4] in METRICS
    ]
    rows = []
    for task in dict.fromkeys(key[2] for key in own):
        asked = dict.fromkeys(key[3] for key in own if key[2] == task and key[3] is not None)
        shared = [prompt for prompt in asked if prompt in tuned_on]
        some = 0 < len(shared) < len(asked)
        how = f"{len(shared)} of {len(asked)} prompts" if some else ("yes" if shared else "no")
        places = [(task, None, how), *((task, prompt, "yes") for prompt in shared if some)]
        for place in places:
            rows += _changes(numbers, shown, tuning, *place)
    if not rows:
        return "Nothing was measured under this tuning."
    heads = ("task or prompt", "tuned on", "metric", "before", "after", "n")
    before = "raw" if tuning == shown.baseline else shown.baseline
    return f"{_table(heads, rows)}\n\n{NOTES}{BEFORE[before]}"


def _changes(
    numbers: Mapping[Key, Number],
    shown: ModelRecord,
    tuning: str,
    task: str,
    prompt: str | None,
    how: str,
) -> Iterator[tuple[object, ...]]:
    for metric, (title, digits, sampled) in METRICS.items():
        own, other = (shown.measured_tuning(t, task) for t in (tuning, "base"))
        after = numbers.get((shown.model, own, task, prompt, metric))
        if after is not None:
            # Of a base model that does not keep the form, raw answers say nothing of spread.
            raw = own == other
            place = (shown.model, "base" if raw else other, task, prompt, metric)
            before = None if raw and sampled else numbers.get(place)
            cells = (_cell(number, digits, sampled) for number in (before, after))
            yield (prompt or task, how, title, *cells, after.n)


def _cell(number: Number | None, digits: int, sampled: bool) -> str:
    if number is None or math.isnan(number.value):
        return DASH
    if math.isinf(number.value):
        return "∞"
    ends = f" ({number.ci_low:.{digits}f}–{number.ci_high:.{digits}f})"
    return f"{number.value:.{digits}f}{ends if sampled else ''}"


def _use_of_adapter(folder: Path, run: Mapping[str, Any], prompt: TunedPrompt) -> Iterator[str]:
    record, settings = run["model"], run["model"]["settings"]
    dtype, ends = run["settings"]["dtype"], run["settings"]["end_tokens"]
    # As tokenizer.json says: so was the model tuned and measured.
    published = "tokenizer.json" in record["files"]
    tokenizer = "PreTrainedTokenizerFast" if published else "AutoTokenizer"
    classes, loading = f"GenerationConfig, {tokenizer}", f"{str(folder)!r}, dtype={dtype!r}"
    revision = f", revision={record['revision']!r}" if record["revision"] else ""
    if settings["four_bit"]:
        how = f"load_in_4bit=True, bnb_4bit_quant_type='nf4', bnb_4bit_compute_dtype={dtype!r}"
        loading += f", quantization_config=BitsAndBytesConfig({how})"
        classes = f"BitsAndBytesConfig, {classes}"
    yield "From the folder that the paths start from; the base model comes with the adapter." + (
        " (AutoModelForCausalLM would take the base model's newest revision.)" if revision else ""
    )
    yield _python(
        "from peft import AutoPeftModelForCausalLM",
        f"from transformers import {classes}",
        "",
        f"model = AutoPeftModelForCausalLM.from_pretrained({loading})",
        "model.generation_config = GenerationConfig(",
        "    do_sample=True, temperature=1.0, top_k=0, top_p=1.0,",
        f"    eos_token_id={ends!r}, pad_token_id={ends[0]!r},",
        ")",
        f"tokenizer = {tokenizer}.from_pretrained({record['hub'] or record['path']!r}{revision})",
        *_template_lines(settings),
        *_asking(prompt.text, settings["template_args"]),
    )
    if settings["leading_space"]:
        yield "Its answers begin with a space, which the chat template leaves to them."


def _template_lines(settings: Mapping[str, Any]) -> Iterator[str]:
    if settings["chat_template"] is not None:
        yield f"tokenizer.chat_template = {settings['chat_template']!r}"
    if "date_string" in settings["template_args"]:
        yield "# Where the template asks for today's date, it was told this one."
        clock = "{% macro strftime_now(format) %}{{ date_string }}{% endmacro %}"
        yield f"tokenizer.chat_template = {clock!r} + tokenizer.get_chat_template()"


def _use_of_merged(folder: Path, run: Mapping[str, Any]) -> Iterator[str]:
    yield "Its files say how it samples, when an answer ends, and how it is asked."
    yield _python(
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"model = AutoModelForCausalLM.from_pretrained({str(folder)!r})",
        f"tokenizer = AutoTokenizer.from_pretrained({str(folder)!r})",
        *_asking("...", {}),
    )
    yield "Or `transformers serve FOLDER`, behind an endpoint that speaks OpenAI's protocol."


def _asking(text: str, template_args: Mapping[str, Any]) -> Iterator[str]:
    further = f", **{dict(template_args)!r}" if template_args else ""
    yield f"messages = [{{'role': 'user', 'content': {text!r}}}]"
    yield "prompt = tokenizer.apply_chat_template("
    yield (
        "    messages, add_generation_prompt=True, return_tensors='pt', return_dict=True" + further
    )
    yield ")"
    yield "answers = model.generate("
    yield f"    **prompt, max_new_tokens={LONGEST}, num_return_sequences=10"
    yield ")[:, prompt['input_ids'].shape[1] :]"
    yield "print(*tokenizer.batch_decode(answers, skip_special_tokens=True), sep='\\n')"


def _python(*lines: str) -> str:
    """A block of code; no text of a user's can end it: it stands as a literal, within a line."""
    return "\n".join(["```python", *lines, "```"])


def _closing(run: Mapping[str, Any]) -> Iterator[str]:
    changed = ", with uncommitted changes" if run["dirty"] else ""
    versions = {"diffuselm": f"{run['diffuselm']}, commit {run['commit'] or 'unknown'}{changed}"}
    yield "## Made with"
    yield _table(("", "version"), (versions | {"Python": run["python"]} | run["libraries"]).items())
    yield CITATION.format(version=run["diffuselm"])


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; every cell is text, whatever a user wrote into it."""
    lines = [[escape_markdown(str(cell)) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, ["---"] * len(heads), *lines])
