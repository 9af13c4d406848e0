"""The run matrix: which prompts each tuning is tuned on, and on which tasks it is measured."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffuselm.config.config import PAPER_TUNINGS, Config
from diffuselm.config.sample import AnswerSettings
from diffuselm.config.tune import LoraSettings, TuneSettings
from diffuselm.files.runs import HELD, is_held, run_name
from diffuselm.methods.method import Method, Prompting
from diffuselm.methods.prompt_search import PromptSearch
from diffuselm.methods.training import Training
from diffuselm.model.source.gguf_files import find_gguf, read_header
from diffuselm.plan.checks import FORM, KNOWLEDGE
from diffuselm.tasks.prompts import Prompt, task_of

# Answers to `ranges`: figure 2's intervals are those between its prompts, and this many leave half
# a tenth of a nat of bias on ranges of 45, which a claim is about.
RANGES_DRAWS = 500
SECTION_4 = ("names/english", "numbers/1-10")  # its prompts: of figure 1, swept over temperatures


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
            return method_training(self.config.tune, method, tuning)
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

    @property
    def of_values(self) -> list[str]:
        """The tasks whose answers are one value."""
        return [task for task in self.prompts if task not in self.of_records]

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
        return [id for id in SECTION_4 if id in self.asked and self.config.temperatures]

    @property
    def asked(self) -> set[str]:
        """The ids of all prompts that can be tuned on."""
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


def method_training(tune: TuneSettings, method: Training, where: str) -> LoraSettings:
    """How a method's adapter is trained: as that of `all`, but for its own settings."""
    usual = tune.of_tuning("all").model_dump()
    return LoraSettings.read(usual | method.own | method.settings, f"{where}.settings")
