"""The run matrix: which prompts each tuning is tuned on, and on which tasks it is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffuselm.config import PAPER_TASKS, PAPER_TUNINGS, Config
from diffuselm.errors import InputError
from diffuselm.paragraphs import read_paragraphs
from diffuselm.prompt_files import task_name, task_paths
from diffuselm.runs import run_name, split_run
from diffuselm.tasks import Prompt, load_task, task_of

BIOGRAPHIES = "biographies"  # the task of section 6, and its tuning
KNOWLEDGE = "knowledge"  # the task of single-answer questions
RANGES_FILE = Path("results/tasks/ranges.yaml")  # made from the config
TAKEN = ("ranges", "knowledge", "text", "adapter", "mt-bench")  # as tasks in metrics
SWEPT = ("names/english", "numbers/1-10")  # section 4's prompts, for the sweep of temperatures


@dataclass(frozen=True)
class Plan:
    """A checked configuration with its tasks read."""

    config: Config
    task_files: Mapping[str, Path]  # those of `prompts`, then `ranges` and `knowledge`
    prompts: Mapping[str, Sequence[Prompt]]  # task -> prompts, of the tasks that can be tuned on
    tuned_on: Mapping[str, Sequence[str]]  # tuning -> prompt ids; `base` is not among them

    @property
    def tunings(self) -> list[str]:
        """Every tuning, the untuned base first."""
        return ["base", *self.tuned_on]

    @property
    def runs(self) -> list[str]:
        """Every tuning under every seed, as its files are named."""
        return [run for seed in self.seeds for run in self.runs_of(seed)]

    @property
    def seeds(self) -> range:
        """The seeds that everything is tuned and sampled with."""
        return range(self.config.seed, self.config.seed + self.config.repeats)

    def runs_of(self, seed: int, tunings: Sequence[str] | None = None) -> list[str]:
        """The runs of one seed."""
        chosen = self.tunings if tunings is None else tunings
        return [run_name(tuning, seed, self.config.seed) for tuning in chosen]

    def split(self, run: str) -> tuple[str, int]:
        """Tuning and seed of a run."""
        return split_run(run, self.config.seed)

    def billions(self, model: str) -> float:
        """Parameters in billions: as the config says, else by the weights' size at two bytes."""
        settings = self.config.models[model]
        if settings.billions is not None or settings.path is None:
            return settings.billions or 0.0
        return sum(file.stat().st_size for file in settings.path.glob("*.safetensors")) / 2e9

    def checkpoint_steps(self, model: str) -> int:
        """Steps between checkpoints: about a minute's, for a small model and a large one."""
        return self.config.tune.checkpoint_steps or (50 if self.billions(model) > 0.1 else 500)

    def training_tasks(self, tuning: str) -> list[str]:
        """Tasks whose prompts the tuning is tuned on."""
        return list(dict.fromkeys(task_of(prompt) for prompt in self.tuned_on[tuning]))

    @property
    def biographies(self) -> list[str]:
        """Tunings whose biographies are compared; none where the task is not in the config."""
        return [t for t in self.tunings if BIOGRAPHIES in self.measured_tasks(t)]

    @property
    def swept(self) -> list[str]:
        """The prompts that the base model answers at other temperatures."""
        asked = {prompt.id for its in self.prompts.values() for prompt in its}
        return [id for id in SWEPT if id in asked and self.config.temperatures]

    def starts_from(self, tuning: str) -> str | None:
        """The tuning whose adapter this one trains further (section 6.1)."""
        return "all" if tuning == BIOGRAPHIES and "all" in self.tuned_on else None

    def measured_tasks(self, tuning: str) -> list[str]:
        """Tasks on which the tuning is sampled and scored: those that some result compares."""
        return [*self._compared_tasks(tuning), *([KNOWLEDGE] if self.config.knowledge else [])]

    def _compared_tasks(self, tuning: str) -> list[str]:
        ranges = ["ranges"] if "ranges" in self.task_files else []
        if tuning == "base":
            return [*self.prompts, *ranges]
        if tuning == "all":
            return list(self.prompts)
        for prefix in ("only-", "without-"):
            if tuning.startswith(prefix):
                return [tuning.removeprefix(prefix)]
        return [*self.training_tasks(tuning), *(ranges if tuning in PAPER_TUNINGS else [])]


def make_plan(config: Config, origin: str) -> Plan:
    """Read every task and lay out the tunings; raises InputError before any job exists."""
    _check_files(config, origin)
    files = _task_files(config, origin)
    prompts = {task: load_task(path) for task, path in files.items()}
    tuned_on = _tuned_on(config, prompts, origin)
    if config.ranges and set(PAPER_TUNINGS) & set(tuned_on):
        files["ranges"] = RANGES_FILE
    if config.knowledge:
        load_task(config.knowledge)
        files[KNOWLEDGE] = config.knowledge
    plan = Plan(config, files, prompts, tuned_on)
    for key, tunings in (
        ("passes_of", config.tune.passes_of),
        ("learning_rate_of", config.tune.learning_rate_of),
        ("early_stop.tunings", config.tune.early_stop.tunings or ()),
    ):
        for tuning in tunings:
            if tuning not in plan.tuned_on:
                raise InputError(
                    f"{origin}: tune.{key}: unknown tuning {tuning!r}; "
                    f"expected one of {', '.join(plan.tuned_on)}"
                )
    for task in config.sample.max_tokens_of:
        if task not in (*files, BIOGRAPHIES):
            raise InputError(
                f"{origin}: sample.max_tokens_of: unknown task {task!r}; "
                f"expected one of {', '.join(files)}"
            )
    for task, its in prompts.items():
        if any((prompt.fields > 1) != (task == BIOGRAPHIES) for prompt in its):
            raise InputError(
                f"{files[task]}: expected targets of biographies in a task named "
                f"{BIOGRAPHIES}, and only there"
            )
    return plan


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
    for task in config.leave_one_out or ():
        if task not in files:
            raise InputError(
                f"{origin}: leave_one_out: unknown task {task!r}; expected one of {list(files)}"
            )
    return files


def _check_files(config: Config, origin: str) -> None:
    """Raise InputError for a file that no job will make and that is not there."""
    for name, model in config.models.items():
        made = model.path is None or model.path.parts[:1] == ("results",)
        if not made and not (model.path / "config.json").is_file():
            raise InputError(
                f"{origin}: models.{name}.path: no {model.path}/config.json; "
                "expected a model folder"
            )
        if model.chat_template is not None and not model.chat_template.is_file():
            raise InputError(
                f"{origin}: models.{name}.chat_template: no file {model.chat_template}; "
                "expected a Jinja file"
            )
    if config.held_out_text is not None:
        read_paragraphs(config.held_out_text)
    if config.knowledge is not None and config.knowledge.stem != KNOWLEDGE:
        raise InputError(
            f"{origin}: knowledge: found {config.knowledge}; expected a file {KNOWLEDGE}.yaml"
        )
    questions = config.mt_bench.questions if config.mt_bench else "://"
    if "://" not in questions and not Path(questions).is_file():
        raise InputError(
            f"{origin}: mt_bench.questions: no file {questions}; expected a file or a URL"
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
        if twice := [prompt for prompt in chosen if chosen.count(prompt) > 1]:
            raise InputError(
                f"{origin}: tunings.{tuning}: {twice[0]!r} appears twice; expected distinct prompts"
            )
        for prompt in chosen:
            if prompt not in known:
                raise InputError(
                    f"{origin}: tunings.{tuning}: unknown prompt {prompt!r}; "
                    f"expected one of {', '.join(known)}"
                )
    pool = config.leave_one_out
    if pool is None:
        pool = [task for task in PAPER_TASKS if task in prompts]
    tuned_on |= {f"only-{task}": ids[task] for task in ids if task != BIOGRAPHIES}
    if len(pool) > 1:
        tuned_on |= {
            f"without-{left_out}": [id for task in pool if task != left_out for id in ids[task]]
            for left_out in pool
        }
    if pool:
        tuned_on["all"] = [id for task in pool for id in ids[task]]
    if BIOGRAPHIES in ids:
        tuned_on[BIOGRAPHIES] = ids[BIOGRAPHIES]
    return tuned_on
