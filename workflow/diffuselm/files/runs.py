"""Runs: a tuning under one seed, and the name that its files carry."""

MARK = ".seed-"
METHOD = "method-"  # before the name of a method
HELD = "held"  # base, held to the asked form; `held-TUNING`: a tuning, held to it


def is_held(tuning: str) -> bool:
    """Whether answers under the tuning are held to the asked form."""
    return tuning == HELD or tuning.startswith(f"{HELD}-")


def method_tuning(name: str) -> str:
    """The tuning that a method of the config stands under."""
    return f"{METHOD}{name}"


def is_method(tuning: str) -> bool:
    """Whether a tuning is a method's."""
    return tuning.startswith(METHOD)


def run_name(tuning: str, seed: int, first: int) -> str:
    """The tuning's own name under the config's first seed, `TUNING.seed-N` under any other."""
    return tuning if seed == first else f"{tuning}{MARK}{seed}"


def split_run(name: str, first: int) -> tuple[str, int]:
    """Tuning and seed of a run, from the name of its files."""
    tuning, _, seed = name.partition(MARK)
    return tuning, int(seed) if seed else first
