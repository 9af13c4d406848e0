"""The run matrix: which prompts each tuning is tuned on, and on which tasks it is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffuselm.config import PAPER_TASKS, PAPER_TUNINGS, Config
from diffuselm.errors import InputError
from diffuselm.tasks import Prompt, load_task, task_of


@dataclass(frozen=True)
class Plan:
    """A checked configuration with its tasks read."""

    config: Config
    task_files: Mapping[str, Path]
    prompts: Mapping[str, Sequence[Prompt]]  # task -> prompts
    tuned_on: Mapping[str, Sequence[str]]  # tuning -> prompt ids; `base` is not among them

    @property
    def tunings(self) -> list[str]:
        """Every tuning, the untuned base first."""
        return ["base", *self.tuned_on]

    def training_tasks(self, tuning: str) -> list[str]:
        """Tasks whose prompts the tuning is tuned on."""
        return list(dict.fromkeys(task_of(prompt) for prompt in self.tuned_on[tuning]))

    def measured_tasks(self, tuning: str) -> list[str]:
        """Tasks on which the tuning is sampled and scored: those that some table compares."""
        if tuning in ("base", "all"):
            return list(self.prompts)
        for prefix in ("only-", "without-"):
            if tuning.startswith(prefix):
                return [tuning.removeprefix(prefix)]
        return self.training_tasks(tuning)


def make_plan(config: Config, origin: str) -> Plan:
    """Read every task and lay out the tunings; raises InputError before any job exists."""
    _check_files(config, origin)
    files = {path.stem: path for path in config.tasks}
    prompts = {task: load_task(path) for task, path in files.items()}
    plan = Plan(config, files, prompts, _tuned_on(config, prompts, origin))
    for key, tunings in (
        ("passes_of", config.tune.passes_of),
        ("early_stop.tunings", config.tune.early_stop.tunings or ()),
    ):
        for tuning in tunings:
            if tuning not in plan.tuned_on:
                raise InputError(
                    f"{origin}: tune.{key}: unknown tuning {tuning!r}; "
                    f"expected one of {', '.join(plan.tuned_on)}"
                )
    return plan


def _check_files(config: Config, origin: str) -> None:
    """Raise InputError for a file that no job will make and that is not there."""
    for name, model in config.models.items():
        made = model.path.parts[:1] == ("results",)
        if not made and not (model.path / "config.json").is_file():
            raise InputError(
                f"{origin}: models.{name}.path: no {model.path}/config.json; "
                "expected a model folder"
            )
    if config.names.file is not None and not config.names.file.is_file():
        raise InputError(
            f"{origin}: names.file: no file {config.names.file}; expected names.zip or yobYYYY.txt"
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
        for prompt in chosen:
            if prompt not in known:
                raise InputError(
                    f"{origin}: tunings.{tuning}: unknown prompt {prompt!r}; "
                    f"expected one of {', '.join(known)}"
                )
    pool = config.leave_one_out
    if pool is None:
        pool = [task for task in PAPER_TASKS if task in prompts]
    tuned_on |= {f"only-{task}": ids[task] for task in ids}
    if len(pool) > 1:
        tuned_on |= {
            f"without-{left_out}": [id for task in pool if task != left_out for id in ids[task]]
            for left_out in pool
        }
    if pool:
        tuned_on["all"] = [id for task in pool for id in ids[task]]
    return tuned_on
