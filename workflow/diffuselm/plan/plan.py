"""The run matrix: which prompts each tuning is tuned on, and on which tasks it is measured."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from diffuselm.config.config import PAPER_TASKS, PAPER_TUNINGS, Config, is_taken
from diffuselm.config.sample import AnswerSettings
from diffuselm.config.tune import LoraSettings, TuneSettings
from diffuselm.errors import InputError
from diffuselm.files.runs import HELD, is_held, method_tuning, run_name
from diffuselm.methods.drawn_outside import DrawnOutside
from diffuselm.methods.method import Decoding, Method, Prompting, read_method
from diffuselm.methods.prompt_search import PromptSearch
from diffuselm.methods.training import Training
from diffuselm.model.source.gguf_files import find_gguf, read_header
from diffuselm.paper.curves import curves_of
from diffuselm.plan.checks import FORM, KNOWLEDGE, check_files
from diffuselm.tasks.outside import read_outside
from diffuselm.tasks.paragraphs import read_paragraphs
from diffuselm.tasks.prompts import BIOGRAPHIES, STATED, Prompt, task_of
from diffuselm.tasks.task_files import load_task, task_name, task_paths
from diffuselm.tasks.texts import SLUG

# Answers to `ranges`: figure 2's intervals are those between its prompts, and this many leave half
# a tenth of a nat of bias on ranges of 45, which a claim is about.
RANGES_DRAWS = 500
RANGES_TOKENS = 12  # of an answer: six digits at most, braces and end, with room for spaces
RANGES_FILE = Path("results/tasks/ranges.yaml")  # made from the config
TAKEN = ("ranges", "knowledge", "form", "text", "adapter", "mt-bench")  # as tasks in metrics
SECTION_4 = ("names/english", "numbers/1-10")  # its prompts: of figure 1, swept over temperatures
FROM_OUTSIDE = 11  # the number of the table of tasks from outside
# How a method gets its answers; all others ask in another way.
WAYS = {Decoding: "decoding", Training: "training", DrawnOutside: "outside"}
OF_TASKS = "of-tasks"  # in place of a number: the table and the figure of tasks not the paper's


@dataclass(frozen=True)
class Plan:
    """A checked configuration with its tasks read."""

    config: Config
    task_files: Mapping[str, Path]  # of `prompts`, `ranges`, `knowledge` and `form`; of `outside`
    prompts: Mapping[str, Sequence[Prompt]]  # task -> prompts, of the tasks that can be tuned on
    outside: Mapping[str, Sequence[Prompt]]  # likewise of those from outside, measured alone
    tuned_on: Mapping[str, Sequence[str]]  # tuning -> prompt ids; untuned ones are not among them
    longest: Mapping[str, int]  # task -> tokens of an answer at most
    content: Mapping[str, str]  # task -> hash of its prompts as they were read
    methods: Mapping[str, Method]  # tuning -> the method that it is

    def tunings(self, model: str) -> list[str]:
        """Every tuning of a model, the untuned base first."""
        # Where answers of the base model keep the form, records are free, and the others held once.
        held = [HELD] if len(self.of_records) < len(self.prompts) else []
        if self.baseline(model) == FORM:
            both = (t for t in ("all", *self.of_records) if t in self.tuned_on and self.of_records)
            held = [HELD, *(f"{HELD}-{tuning}" for tuning in both)]
        controls = ["base", *held]
        tuned = (t for t in self.tuned_on if t != FORM or self.baseline(model) == FORM)
        untuned = (t for t in self.methods if t not in self.tuned_on)
        return [*controls, *tuned, *untuned]

    def baseline(self, model: str) -> str:
        """The tuning that a model's others are compared with: `base` or `form`."""
        return self.config.models[model].baseline or self.config.baseline

    def adapter_of(self, model: str, tuning: str) -> str | None:
        """The tuning whose adapter a tuning answers with; None for the bare base model."""
        untuned = tuning in self.methods and tuning not in self.tuned_on
        answering = self.baseline(model) if untuned else tuning.removeprefix(f"{HELD}-")
        return answering if answering in self.tuned_on else None

    def runs(self, model: str) -> list[str]:
        """Every tuning of a model under every seed, as its files are named."""
        return self.runs_of(self.tunings(model))

    def runs_of(self, tunings: Collection[str], seeds: Iterable[int] | None = None) -> list[str]:
        """The runs of some tunings under every seed, or under some."""
        first = self.config.seed
        seeds = range(first, first + self.config.repeats) if seeds is None else seeds
        return [run_name(tuning, seed, first) for seed in seeds for tuning in tunings]

    def billions(self, model: str) -> float:
        """Parameters in billions: as the config says, else by the weights' size at two bytes.

        A GGUF file counts its own.
        """
        settings = self.config.models[model]
        if settings.billions is not None or settings.hub is not None:
            return settings.billions or 0.0
        if settings.gguf is not None:
            return read_header(self.gguf(model)).parameters / 1e9
        return sum(file.stat().st_size for file in settings.path.glob("*.safetensors")) / 2e9

    def gguf(self, model: str) -> Path:
        """The GGUF file of a model that is one."""
        return find_gguf(self.config.models[model].gguf, self.config.models[model].package)

    def tuned_runs(self, model: str) -> list[str]:
        """The runs of a model that train an adapter."""
        return self.runs_of([tuning for tuning in self.tunings(model) if tuning in self.tuned_on])

    @property
    def runs_of_form(self) -> list[str]:
        """The runs of tuning `form`, which only models have whose baseline it is."""
        return self.runs_of({FORM} & {*self.tuned_on})

    @property
    def runs_tuned_on_tasks(self) -> list[str]:
        """The other runs that train an adapter, which all models have, but for those of methods."""
        others = (FORM, *self.methods)
        return self.runs_of([tuning for tuning in self.tuned_on if tuning not in others])

    def training(self, tuning: str) -> LoraSettings:
        """How the adapter of a tuning is trained."""
        if method := self.methods.get(tuning):
            return _training(self.config.tune, method, tuning)
        return self.config.tune.of_tuning(tuning)

    @property
    def trained_tasks(self) -> list[str]:
        """The tasks that some adapter is tuned on."""
        return [*self.prompts, *({FORM} & {*self.tuned_on})]

    def training_tasks(self, tuning: str) -> list[str]:
        """Tasks whose prompts the tuning is tuned on."""
        return list(dict.fromkeys(task_of(prompt) for prompt in self.tuned_on[tuning]))

    @property
    def of_records(self) -> list[str]:
        """The tasks of records, each with a tuning of the same name."""
        return [task for task, its in self.prompts.items() if its[0].records]

    def recorded(self, model: str, task: str) -> list[str]:
        """Tunings that write records of a task; none where the task is not in the config."""
        return [t for t in self.tunings(model) if task in self.measured(model, t)]

    def tuning_on(self, model: str, task: str) -> str:
        """The tuning on a task of records, held to the form where the model does not keep it."""
        return f"{HELD}-{task}" if self.baseline(model) == FORM else task

    def records(self, model: str, tuning: str, task: str) -> int | None:
        """Records asked of the tuning on a task: by default as many as answers to all its texts.

        None of any other tuning, whose dataset is of all its answers.
        """
        if tuning != self.tuning_on(model, task):
            return None
        its, settings = self.prompts[task], self.config.sample
        texts = len(its) // len(its[0].records.given_cases())
        return self.config.records or texts * settings.draws_of.get(task, settings.draws)

    @property
    def swept(self) -> list[str]:
        """The prompts that the baseline answers at other temperatures."""
        return [id for id in SECTION_4 if id in self._asked and self.config.temperatures]

    @property
    def _asked(self) -> set[str]:
        return {prompt.id for its in self.prompts.values() for prompt in its}

    def starts_from(self, tuning: str) -> str | None:
        """The tuning whose adapter this one trains further (section 6.1)."""
        return "all" if tuning in self.of_records and "all" in self.tuned_on else None

    @property
    def swept_tasks(self) -> list[str]:
        """The tasks of the swept prompts."""
        return list(dict.fromkeys(map(task_of, self.swept)))

    def answers(self, draws: Mapping[str, int], tuning: str) -> AnswerSettings:
        """How tasks are asked under a tuning, each for so many answers to a prompt."""
        method = self.methods.get(tuning)
        longer = method.max_tokens if isinstance(method, Prompting) else None
        return AnswerSettings(
            draws=draws,
            max_tokens={task: longer or self.longest[task] for task in draws},
            held=is_held(tuning),
            token_budget=self.config.sample.token_budget,
            pass_budget=self.config.tune.token_budget,
        )

    def measured(self, model: str, tuning: str) -> dict[str, int]:
        """The tasks that some result compares the tuning on, and how many answers each prompt gets.

        All are scored exactly; those with 0 answers by that alone.
        """
        settings, baseline = self.config.sample, self.baseline(model)
        check = min(settings.check_draws, settings.draws)
        usual = {"ranges": min(RANGES_DRAWS, settings.draws), KNOWLEDGE: check}
        usual |= settings.draws_of
        # Those to all combinations of given values together are as many as to another prompt.
        for task in self.of_records:
            cases = len(self.prompts[task][0].records.given_cases())
            usual[task] = max(2, usual.get(task, settings.draws) // cases)
        compared = self._compared_tasks(tuning, baseline)
        drawn = {task: usual.get(task, settings.draws) for task in compared}
        if baseline == FORM and tuning == "base":
            drawn = dict.fromkeys(drawn, check)
        elif baseline == FORM and not is_held(tuning):
            drawn |= {t: min(check, drawn[t]) for t in self.of_records if t in drawn}
        if isinstance(method := self.methods.get(tuning), Prompting):
            return {task: min(method.draws or drawn[task], drawn[task]) for task in compared}
        if isinstance(method, PromptSearch):
            return drawn
        if self.config.knowledge and not is_held(tuning):
            drawn[KNOWLEDGE] = usual[KNOWLEDGE] if tuning in ("base", baseline, "all") else 0
        from_outside = self._compared_outside(tuning)
        return drawn | {task: usual.get(task, settings.draws) for task in from_outside}

    def _compared_tasks(self, tuning: str, baseline: str) -> list[str]:
        ranges = ["ranges"] if "ranges" in self.task_files else []
        if tuning == "base":
            return [*self.prompts, *(ranges if baseline == "base" else [])]
        if tuning in self.methods:
            return list(self.methods[tuning].tasks or self.of_values)
        if tuning == FORM:
            return [*self.of_values, *ranges]
        if tuning == HELD and baseline != FORM:
            return self.of_values
        if tuning in (HELD, "all"):
            return list(self.prompts)
        if is_held(tuning):
            trained = tuning.removeprefix(f"{HELD}-")
            return self.of_records if trained == "all" else [trained]
        for prefix in ("only-", "without-"):
            if tuning.startswith(prefix):
                return [tuning.removeprefix(prefix)]
        return [*self.training_tasks(tuning), *(ranges if tuning in PAPER_TUNINGS else [])]

    def _compared_outside(self, tuning: str) -> list[str]:
        """Tasks from outside that a tuning is measured on.

        All on the base model, on one that was taught the form, and on what is tuned on whole tasks:
        `all`, or where there is none, each `only-TASK`. Those whose answers are taken whole know no
        form that answers could be held to.
        """
        if tuning == HELD:
            return [task for task, its in self.config.outside.items() if not its.whole_answers]
        whole = tuning == "all" or (tuning.startswith("only-") and "all" not in self.tuned_on)
        return [*self.outside] if tuning in ("base", FORM) or whole else []

    @cached_property
    def caption(self) -> dict[str, Any]:
        """What captions say: models, numbers of answers, and what "before tuning" stands for."""
        return {
            "models": list(self.config.models),
            "draws": self.config.sample.draws,
            "ranges": self._most_answers("ranges"),
            "knowledge": self._most_answers(KNOWLEDGE),
            "versions": self.config.ranges and self.config.ranges.versions,
            "judge": self.config.mt_bench is not None,
            "before_tuning": self._before_tuning(),
        }

    def _before_tuning(self) -> str:
        """What stands for the base model; nothing where that is always the base model itself."""
        models = ", ".join(model for model in self.config.models if self.baseline(model) == FORM)
        held = "biographies" if self.of_records == [BIOGRAPHIES] else "records"
        if not models:
            return ""
        if FORM not in self.tuned_on:
            return f"Before tuning as after, {held} of {models} are held to the form."
        return (
            f"“Base” and “before tuning” mean, for {models}, after tuning on the asked form alone "
            "(questions with one answer)"
            + (f"; its {held} are held to the form." if self.of_records else ".")
        )

    def _most_answers(self, task: str) -> int:
        return max(
            self.measured(model, tuning).get(task, 0)
            for model in self.config.models
            for tuning in self.tunings(model)
        )

    @property
    def own_tasks(self) -> list[str]:
        """The tasks of one value that no other table has; those of records have their cards."""
        shown = (*PAPER_TASKS, *self.of_records, *([STATED] if self.has_table(10) else []))
        return [task for task in self.prompts if task not in shown]

    @property
    def of_the_paper(self) -> bool:
        """Whether some task is the paper's: else it has no table, figure or claim to show."""
        return any(task in (*PAPER_TASKS, BIOGRAPHIES) for task in self.prompts)

    @property
    def compared(self) -> dict[str, dict[str, Any]]:
        """What Table 9 says of each method, and of ours as it is, by tuning."""
        found = {}
        if "all" in self.tuned_on:
            settings = {"rank": self.training("all").rank}
            found["all"] = {"way": "training", "kind": "ours", "settings": settings}
        for tuning, method in self.methods.items():
            ways = (way for kind, way in WAYS.items() if isinstance(method, kind))
            own = method.settings if isinstance(method, Training) else {}
            # Also those that are as by default: a curve has a point there.
            planned = {*Prompting.model_fields, *Training.model_fields}
            said = method.model_dump(mode="json", exclude_unset=True, exclude=planned)
            found[tuning] = {
                "way": next(ways, "prompting"),
                "kind": method.entry["kind"],
                "settings": said | own,
            }
        for tuning, its in found.items():
            its["tuned_on"] = self.training_tasks(tuning) if tuning in self.tuned_on else []
        return found

    @property
    def of_values(self) -> list[str]:
        """The tasks whose answers are one value."""
        return [task for task in self.prompts if task not in self.of_records]

    def has_figure(self, number: int | str) -> bool:
        """Whether the config has the prompts that a figure shows."""
        if number in (7, 8):
            return bool(self.methods) and (number == 7 or curves_of(self.compared) != [])
        there = {1: {*SECTION_4} <= self._asked, 2: "ranges" in self.task_files}
        there |= dict.fromkeys((4, 5), BIOGRAPHIES in self.prompts)
        if number == OF_TASKS:
            return bool(self.own_tasks)
        return self.of_the_paper and there.get(number, True)

    def has_table(self, number: int | str) -> bool:
        """Whether the config has the tasks that a table shows."""
        if number == 9:
            return bool(self.methods)
        if number == OF_TASKS:
            return bool(self.own_tasks)
        if number == FROM_OUTSIDE:
            return bool(self.outside)
        if number == 10:
            return STATED in self.prompts and STATED in self.tuned_on
        return BIOGRAPHIES in self.prompts or (self.of_the_paper and number in (4, 5, 6))


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
            _training(config.tune, method, where)
            if method.reads:
                read_paragraphs(method.reads)
        found[method_tuning(name)] = method
    return found


def _training(tune: TuneSettings, method: Training, where: str) -> LoraSettings:
    """How a method's adapter is trained: as that of `all`, but for its own settings."""
    usual = tune.of_tuning("all").model_dump()
    return LoraSettings.read(usual | method.own | method.settings, f"{where}.settings")


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
