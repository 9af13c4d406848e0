"""What is shown of a plan's results: tables, figures, and what their captions say."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from diffuselm.config.config import PAPER_TASKS
from diffuselm.methods.drawn_outside import DrawnOutside
from diffuselm.methods.method import Decoding, Prompting
from diffuselm.methods.training import Training
from diffuselm.paper.curves import curves_of
from diffuselm.plan.checks import FORM, KNOWLEDGE
from diffuselm.plan.plan import SECTION_4, Plan
from diffuselm.tasks.prompts import BIOGRAPHIES, STATED

FROM_OUTSIDE = 11  # the number of the table of tasks from outside
# How a method gets its answers; all others ask in another way.
WAYS = {Decoding: "decoding", Training: "training", DrawnOutside: "outside"}
OF_TASKS = "of-tasks"  # in place of a number: the table and the figure of tasks not the paper's


@dataclass(frozen=True)
class Display:
    """What a plan's config has results to show of."""

    plan: Plan

    @cached_property
    def caption(self) -> dict[str, Any]:
        """What captions say: models, numbers of answers, and what "before tuning" stands for."""
        return {
            "models": list(self.plan.config.models),
            "draws": self.plan.config.sample.draws,
            "ranges": self._most_answers("ranges"),
            "knowledge": self._most_answers(KNOWLEDGE),
            "versions": self.plan.config.ranges and self.plan.config.ranges.versions,
            "judge": self.plan.config.mt_bench is not None,
            "before_tuning": self._before_tuning(),
        }

    def _before_tuning(self) -> str:
        """What stands for the base model; nothing where that is always the base model itself."""
        models = ", ".join(
            model for model in self.plan.config.models if self.plan.baseline(model) == FORM
        )
        held = "biographies" if self.plan.of_records == [BIOGRAPHIES] else "records"
        if not models:
            return ""
        if FORM not in self.plan.tuned_on:
            return f"Before tuning as after, {held} of {models} are held to the form."
        return (
            f"“Base” and “before tuning” mean, for {models}, after tuning on the asked form alone "
            "(questions with one answer)"
            + (f"; its {held} are held to the form." if self.plan.of_records else ".")
        )

    def _most_answers(self, task: str) -> int:
        return max(
            self.plan.measured(model, tuning).get(task, 0)
            for model in self.plan.config.models
            for tuning in self.plan.tunings(model)
        )

    @property
    def own_tasks(self) -> list[str]:
        """The tasks of one value that no other table has; those of records have their cards."""
        shown = (*PAPER_TASKS, *self.plan.of_records, *([STATED] if self.has_table(10) else []))
        return [task for task in self.plan.prompts if task not in shown]

    @property
    def of_the_paper(self) -> bool:
        """Whether some task is the paper's: else it has no table, figure or claim to show."""
        return any(task in (*PAPER_TASKS, BIOGRAPHIES) for task in self.plan.prompts)

    @property
    def compared(self) -> dict[str, dict[str, Any]]:
        """What Table 9 says of each method, and of ours as it is, by tuning."""
        found = {}
        if "all" in self.plan.tuned_on:
            settings = {"rank": self.plan.training("all").rank}
            found["all"] = {"way": "training", "kind": "ours", "settings": settings}
        for tuning, method in self.plan.methods.items():
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
            its["tuned_on"] = (
                self.plan.training_tasks(tuning) if tuning in self.plan.tuned_on else []
            )
        return found

    def has_figure(self, number: int | str) -> bool:
        """Whether the config has the prompts that a figure shows."""
        if number in (7, 8):
            return bool(self.plan.methods) and (number == 7 or curves_of(self.compared) != [])
        there = {1: {*SECTION_4} <= self.plan.asked, 2: "ranges" in self.plan.task_files}
        there |= dict.fromkeys((4, 5), BIOGRAPHIES in self.plan.prompts)
        if number == OF_TASKS:
            return bool(self.own_tasks)
        return self.of_the_paper and there.get(number, True)

    def has_table(self, number: int | str) -> bool:
        """Whether the config has the tasks that a table shows."""
        if number == 9:
            return bool(self.plan.methods)
        if number == OF_TASKS:
            return bool(self.own_tasks)
        if number == FROM_OUTSIDE:
            return bool(self.plan.outside)
        if number == 10:
            return STATED in self.plan.prompts and STATED in self.plan.tuned_on
        return BIOGRAPHIES in self.plan.prompts or (self.of_the_paper and number in (4, 5, 6))
