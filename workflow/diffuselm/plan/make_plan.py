"""From a config to its plan: every task is read, and every name checked, before any job exists."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from diffuselm.config.config import PAPER_TASKS, PAPER_TUNINGS, Config, is_taken
from diffuselm.errors import InputError
from diffuselm.files.runs import method_tuning
from diffuselm.methods.method import Method, read_method
from diffuselm.methods.training import Training
from diffuselm.plan.checks import FORM, KNOWLEDGE, check_files
from diffuselm.plan.plan import Plan, method_training
from diffuselm.tasks.outside import read_outside
from diffuselm.tasks.paragraphs import read_paragraphs
from diffuselm.tasks.prompts import BIOGRAPHIES, Prompt
from diffuselm.tasks.task_files import load_task, task_name, task_paths
from diffuselm.tasks.texts import SLUG

RANGES_TOKENS = 12  # of an answer: six digits at most, braces and end, with room for spaces
RANGES_FILE = Path("results/tasks/ranges.yaml")  # made from the config
TAKEN = ("ranges", "knowledge", "form", "text", "adapter", "mt-bench")  # as tasks in metrics


def make_plan(config: Config, origin: str) -> Plan:
    """Read every task and lay out the tunings; raises InputError before any job exists."""
    check_files(config, origin)
    files = _task_files(config, origin)
    prompts = {task: load_task(path) for task, path in files.items()}
    tuned_on = _tuned_on(config, prompts, origin)
    methods = _methods(config, prompts, origin)
    trained = {t: m for t, m in methods.items() if isinstance(m, Training)}
    tuned_on |= {t: method.prompts or tuned_on["all"] for t, method in trained.items()}
    if config.ranges and set(PAPER_TUNINGS) & set(tuned_on):
        files["ranges"] = RANGES_FILE
    # Records are held to the form instead.
    short = config.knowledge or any(its[0].records is None for its in prompts.values())
    baselines = (config.baseline, *(model.baseline for model in config.models.values()))
    taught = FORM in baselines and short
    others = {KNOWLEDGE: config.knowledge, FORM: config.form if taught else None}
    files |= {task: path for task, path in others.items() if path is not None}
    asked = prompts | {task: load_task(path) for task, path in others.items() if path is not None}
    if taught:
        tuned_on = {FORM: [prompt.id for prompt in asked[FORM]], **tuned_on}
    outside = _from_outside(config, [*prompts, *TAKEN], origin)
    files |= {task: settings.file for task, settings in config.outside.items()}
    asked |= outside
    longest = {task: _longest(its[0], config) for task, its in asked.items()}
    longest["ranges"] = RANGES_TOKENS
    longest |= config.sample.max_tokens_of
    content = {task: _content(its) for task, its in asked.items()}
    plan = Plan(config, files, prompts, outside, tuned_on, longest, content, methods)
    tune, sample = config.tune, config.sample
    for key in ("passes_of", "learning_rate_of", "stop_early"):
        _check_known(f"{origin}: tune.{key}", "tuning", getattr(tune, key) or (), plan.tuned_on)
    sampled = dict.fromkeys(file for file in (*files, BIOGRAPHIES, "ranges") if file != FORM)
    for key in ("max_tokens_of", "draws_of"):
        _check_known(f"{origin}: sample.{key}", "task", getattr(sample, key), sampled)
    return plan


def _methods(
    config: Config, prompts: Mapping[str, Sequence[Prompt]], origin: str
) -> dict[str, Method]:
    """Tuning -> method; raises InputError for a method that cannot be measured or trained."""
    found: dict[str, Method] = {}
    of_values = [task for task, its in prompts.items() if not its[0].records]
    ids = [prompt.id for task in of_values for prompt in prompts[task]]
    for name, entry in config.methods.items():
        where = f"{origin}: methods.{name}"
        method = read_method(entry, where)
        _check_known(f"{where}.tasks", "task", method.tasks or (), of_values)
        if isinstance(method, Training):
            _check_known(f"{where}.prompts", "prompt", method.prompts or (), ids)
            if not (method.prompts or config.leave_one_out or {*PAPER_TASKS} & {*prompts}):
                raise InputError(f"{where}.prompts: missing; expected some, as there is no `all`")
            method_training(config.tune, method, where)
            if method.reads:
                read_paragraphs(method.reads)
        found[method_tuning(name)] = method
    return found


def _from_outside(
    config: Config, taken: Collection[str], origin: str
) -> dict[str, tuple[Prompt, ...]]:
    """Task -> prompts; raises InputError where a name is another task's, or a file does not fit."""
    for task in config.outside:
        if task in (*taken, *PAPER_TASKS, BIOGRAPHIES) or not SLUG.fullmatch(task):
            raise InputError(
                f"{origin}: outside: {task!r}; expected a name of its own, of lower-case letters "
                "and digits joined by hyphens"
            )
    return {task: read_outside(task, settings) for task, settings in config.outside.items()}


def _content(prompts: Sequence[Prompt]) -> str:
    """A hash of prompts, whatever code read them."""
    read = "".join(prompt.model_dump_json() for prompt in prompts)
    if records := prompts[0].records:
        read += records.model_dump_json()
    return hashlib.sha256(read.encode()).hexdigest()[:16]


def _longest(prompt: Prompt, config: Config) -> int:
    """Tokens of an answer to the prompts of a task, of which `prompt` is one."""
    usual = max(320, config.sample.max_tokens) if prompt.records else config.sample.max_tokens
    return prompt.max_tokens or usual


def _task_files(config: Config, origin: str) -> dict[str, Path]:
    """Task -> file, or folder of published prompts; raises InputError where names clash."""
    files: dict[str, Path] = {}
    for path in (path for entry in config.tasks for path in task_paths(entry)):
        task = task_name(path)
        if task in files:
            raise InputError(f"{origin}: tasks: {task!r} appears twice; expected distinct names")
        if task in TAKEN:
            raise InputError(f"{origin}: tasks: {task!r} is taken; expected another file name")
        files[task] = path
    _check_known(f"{origin}: leave_one_out", "task", config.leave_one_out or (), files)
    return files


def _check_known(where: str, kind: str, named: Iterable[str], known: Iterable[str]) -> None:
    for name in named:
        if name not in known:
            raise InputError(
                f"{where}: unknown {kind} {name!r}; expected one of {', '.join(known)}"
            )


def _tuned_on(
    config: Config, prompts: Mapping[str, Sequence[Prompt]], origin: str
) -> dict[str, list[str]]:
    ids = {task: [prompt.id for prompt in its] for task, its in prompts.items()}
    known = [id for its in ids.values() for id in its]
    further = config.tunings
    if further is None:
        further = {tuning: its for tuning, its in PAPER_TUNINGS.items() if set(its) <= set(known)}
    tuned_on = {tuning: list(chosen) for tuning, chosen in further.items()}
    for tuning, chosen in tuned_on.items():
        if twice := [prompt for prompt in chosen if chosen.count(prompt) > 1]:
            raise InputError(
                f"{origin}: tunings.{tuning}: {twice[0]!r} appears twice; expected distinct prompts"
            )
        _check_known(f"{origin}: tunings.{tuning}", "prompt", chosen, known)
    pool = config.leave_one_out
    if pool is None:
        pool = [task for task in PAPER_TASKS if task in prompts]
    of_records = [task for task, its in prompts.items() if its[0].records]
    for task in of_records:
        if task in pool:
            raise InputError(
                f"{origin}: leave_one_out: found {task!r}; expected tasks of one value"
            )
        if is_taken(task) or task in tuned_on:
            raise InputError(f"{origin}: tasks: {task!r} is a tuning; expected another file name")
    # A tuning that is named as a task takes the place of that on all of its prompts.
    named = {*of_records, *tuned_on}
    tuned_on |= {f"only-{task}": its for task, its in ids.items() if task not in named}
    if len(pool) > 1:
        tuned_on |= {
            f"without-{left_out}": [id for task in pool if task != left_out for id in ids[task]]
            for left_out in pool
        }
    if pool:
        tuned_on["all"] = [id for task in pool for id in ids[task]]
    return tuned_on | {task: ids[task] for task in of_records}
