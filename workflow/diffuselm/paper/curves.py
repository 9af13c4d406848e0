"""The curves of Figure 8: methods that differ in one setting alone, tuned on the same tasks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

# The kind of method whose setting changes along a curve; and where `all`, which is ours as it is,
# stands on it.
KINDS = {"rank": "ours", "targets": "ours", "strength": "near-base"}
_OF_ALL = {"strength": 0}


class Curve(NamedTuple):
    """What changes along it, and the tuning at each value of that, rising."""

    setting: str
    tuned_on: tuple[str, ...]
    tunings: dict[float, str]


def curves_of(methods: Mapping[str, Mapping[str, Any]]) -> list[Curve]:
    """The curves of two points or more among what `Plan.compared` says of methods."""
    found = []
    for setting, kind in KINDS.items():
        points: dict[tuple[tuple[str, ...], str], dict[float, str]] = {}
        for tuning, method in methods.items():
            settings = method["settings"]
            if tuning == "all" and setting in _OF_ALL:
                settings = {setting: _OF_ALL[setting]}
            elif method["kind"] != kind:
                continue
            if setting in settings:
                others = sorted((name, at) for name, at in settings.items() if name != setting)
                alike = (*method["tuned_on"],), str(others)
                points.setdefault(alike, {})[settings[setting]] = tuning
        found += [
            Curve(setting, tasks, dict(sorted(its.items())))
            for (tasks, _), its in points.items()
            if len(its) > 1
        ]
    return found
