"""The paper's models and tasks, by the names that this project gives them."""

from typing import Literal, get_args

PaperModel = Literal["gemma", "llama-2", "mistral"]
PAPER_MODELS: tuple[str, ...] = get_args(PaperModel)
# Section 5's tasks, in its order.
PAPER_TASKS = ("names", "countries", "fruits", "dates", "numbers", "occupations")
