"""What the jobs of a plan read, and what they are told beside files, by model and by run."""

from collections.abc import Iterable
from typing import Any

from diffuselm.config.models import ModelSettings, OpeningSettings
from diffuselm.config.sample import AnswerSettings
from diffuselm.files.runs import is_held, run_name, split_run
from diffuselm.methods.method import code_of
from diffuselm.methods.training import Training
from diffuselm.plan.fingerprint import fingerprint
from diffuselm.plan.options import options
from diffuselm.plan.plan import Plan

# What decides what a model answers, and what a stand-in's folder holds of it.
MODEL_SUFFIXES = (".json", ".safetensors", ".jinja", ".model", ".txt")
CONVERTED = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
STAND_IN = (*CONVERTED, "model.safetensors", "chat_template.jinja")
# Of an adapter; its run.json says which hashes the others have.
ADAPTER = ("adapter_model.safetensors", "adapter_config.json", "run.json")


def target_files(tasks: Iterable[str], suffix: str = "parquet") -> list[str]:
    """The target sets of tasks, or with `json` their prompts."""
    return [f"results/targets/{task}.{suffix}" for task in tasks]


def files_of_runs(kind: str, model: str, runs: Iterable[str]) -> list[str]:
    """Files of some runs of a model."""
    return [f"results/{kind}/{model}/{run}.parquet" for run in runs]


def adapter_folder(model: str, run: str | None) -> str | None:
    """Where an adapter lies; None of none."""
    return run and f"results/adapters/{model}/{run}"


def adapter_files(model: str, run: str | None) -> list[str]:
    """The files of an adapter, or none."""
    return [f"{adapter_folder(model, run)}/{name}" for name in ADAPTER] if run else []


def of_model(plan: Plan, name: str) -> dict[str, Any]:
    """Inputs and options of the jobs of a model."""
    model, runs, baseline = plan.config.models[name], plan.runs(name), plan.baseline(name)
    billions = plan.billions(name)
    shown = {"stand_in": model.stand_in or None, "paper_model": model.paper_model}
    made = "downloads" if model.hub else "converted"
    swept_with = plan.adapter_of(name, baseline)
    return {
        "source": options(hub=model.hub, revision=model.revision),
        "gguf": str(plan.gguf(name)) if model.gguf else None,
        "files": _files_of_model(model, name),
        "opening": options(
            OpeningSettings.subset_of(model),
            path=model.path,
            made=None if model.path else f"results/{made}/{name}.json",
            **shown,
        ),
        "showing": options(baseline=baseline, **shown),
        "baseline": baseline,
        "samples": files_of_runs("samples", name, runs),
        "asked": [f"results/samples/{name}/{run}.run.json" for run in runs],
        "exact": files_of_runs("exact", name, runs),
        "text": files_of_runs("text", name, runs),
        "trained": [f"{adapter_folder(name, run)}/run.json" for run in plan.tuned_runs(name)],
        "records": {
            task: files_of_runs(f"records/{task}", name, plan.runs_of(plan.recorded(name, task)))
            for task in plan.of_records
        },
        "sweep": [f"results/sweep/{name}.parquet"] if plan.swept else [],
        "swept_with": adapter_files(name, swept_with),
        "sweeping": options(
            plan.answers(dict.fromkeys(plan.swept_tasks, plan.config.sample.draws), baseline),
            tuning=baseline,
            adapter=adapter_folder(name, swept_with),
            prompts=plan.swept,
            temperatures=plan.config.temperatures,
            seed=plan.config.seed,
        ),
        # CPU cores that its products fill, GPUs (a stand-in is quicker without), memory, minutes.
        "threads": 1 if billions < 0.3 else 2 if billions < 1 else 4 if billions < 4 else 8,
        "gpus": 0 if model.stand_in else model.gpus,
        "mem_mb": int((2000 if model.stand_in else 8000) + 5000 * billions),
        "tuning_minutes": int(60 + 60 * billions),
        "sampling_minutes": int(60 + 20 * billions),
    }


def _files_of_model(model: ModelSettings, name: str) -> list[str]:
    """The files that decide what a model answers; those of a stand-in may be yet to be built."""
    template = [str(model.chat_template)] if model.chat_template else []
    if model.hub:
        return [f"results/downloads/{name}.json", *template]
    if model.gguf:
        made = [f"results/converted/{name}/{file}" for file in ("model.safetensors", *CONVERTED)]
        return [f"results/converted/{name}.json", *made, *template]
    if model.path.parts[0] == "results":
        return [f"{model.path}/{file}" for file in STAND_IN]
    found = (file for file in model.path.iterdir() if file.suffix in MODEL_SUFFIXES)
    return sorted(map(str, found)) + template


def of_run(plan: Plan, model: str, run: str) -> dict[str, Any]:
    """Inputs and options of the jobs of a run."""
    config = plan.config
    tuning, seed = split_run(run, config.seed)

    def under_its_seed(other: str | None) -> str | None:
        return other and run_name(other, seed, config.seed)

    answering = under_its_seed(plan.adapter_of(model, tuning))
    folder = adapter_folder(model, answering)
    answers = plan.answers(plan.measured(model, tuning), tuning)
    method = plan.methods.get(tuning)
    trains = isinstance(method, Training)
    asking = method if not trains else None
    # How answers are held or drawn changes nothing in how a text is read.
    text = None if is_held(tuning) or asking else config.held_out_text
    entry = {
        "answering": adapter_files(model, answering),
        "asked_with": {
            "adapter": adapter_files(model, answering),
            "targets": target_files(answers.draws),
            "prompts": target_files(answers.draws, "json"),
            "text": [str(text)] if text else [],
        },
        "asking": options(
            answers,
            tuning=tuning,
            adapter=folder,
            held_out_text=text,
            method=asking and asking.entry,
            seed=seed,
        ),
        "asking_code": fingerprint(*code_of(asking)) if asking else None,
    }
    entry |= _records_of_run(plan, model, run, answers)
    if config.mt_bench:
        longest = config.mt_bench.max_tokens
        entry["turns"] = options(tuning=tuning, adapter=folder, max_tokens=longest, seed=seed)
    if tuning in plan.tuned_on:
        trained_on, start = plan.training_tasks(tuning), under_its_seed(plan.starts_from(tuning))
        entry |= {
            "trained_from": {
                "start": adapter_files(model, start),
                "targets": target_files(trained_on),
                "prompts": target_files(trained_on, "json"),
                "text": [str(method.reads)] if trains and method.reads else [],
            },
            "training": options(
                plan.training(tuning),
                tuning=tuning,
                prompts=plan.tuned_on[tuning],
                start=adapter_folder(model, start),
                method=method and method.entry,
                seed=seed,
            ),
            "training_code": fingerprint(*code_of(method)) if method else None,
        }
    return entry


def _records_of_run(plan: Plan, model: str, run: str, answers: AnswerSettings) -> dict[str, Any]:
    """Records of each task that a run is asked for, and what draws those beyond its answers."""
    tuning, seed = split_run(run, plan.config.seed)
    asked = [task for task in plan.of_records if answers.draws.get(task)]
    entry: dict[str, Any] = {"records": {}, "drawn": {task: [] for task in asked}}
    for task in asked:
        records = plan.records(model, tuning, task)
        entry["records"][task] = options(records=records)
        if records is not None and records > answers.draws[task]:
            adapter = run_name(plan.adapter_of(model, tuning), seed, plan.config.seed)
            entry["drawn"][task] = [f"results/drawn/{model}/{run}.parquet"]
            entry["drawn_from"] = {
                "adapter": adapter_files(model, adapter),
                "targets": target_files([task]),
                "prompts": target_files([task], "json"),
            }
            entry["drawing"] = options(
                plan.answers({task: answers.draws[task]}, tuning),
                tuning=tuning,
                adapter=adapter_folder(model, adapter),
                records=records,
                seed=seed,
            )
    return entry
