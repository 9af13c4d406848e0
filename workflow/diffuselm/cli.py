"""The command line: one command per stage, and errors as one line."""

import ast
import errno
import logging
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from pydantic import ValidationError

from diffuselm import __version__
from diffuselm.config.base import Settings
from diffuselm.errors import InputError, NonFiniteLossError, one_line

# A stage's function is its command, imported only when it is called.
BY_HAND = {
    "score": "one_prompt.score:score",
    "diffuse": "one_prompt.diffuse:diffuse",
}
COMMANDS = {
    **BY_HAND,
    "names": "tasks.natural_names:write_natural",
    "ranges": "tasks.number_ranges:write_ranges",
    "targets": "tasks.target_sets:write_targets",
    "outside": "tasks.outside:write_outside",
    "download": "model.source.hub:download",
    "convert": "model.source.conversion:convert",
    "record": "stages.record:record",
    "show": "stages.record:show",
    "stand-in": "stand_in.build:build_stand_in",
    "tune": "stages.tune:tune",
    "sample": "stages.sample:sample",
    "sweep": "stages.sample:sweep",
    "draw-records": "stages.records:draw_records",
    "write-records": "measure.datasets:write_records",
    "dataset-card": "paper.dataset_card:dataset_card",
    "mt-bench-questions": "measure.mt_bench:write_questions",
    "mt-bench-answers": "measure.mt_bench_answers:answer_questions",
    "mt-bench-judge": "measure.verdicts:judge_answers",
    "measure": "measure.model_metrics:measure_model",
    "metrics": "measure.natural:gather_metrics",
    "model-cards": "paper.model_card:model_cards",
    "merge": "stages.merge:merge",
    "scorecard": "paper.scorecard:scorecard",
    **{
        file.stem.replace("_", "-", 1): f"paper.{file.stem}:{file.stem}"
        for kind in ("figure", "tables")
        for file in sorted(Path(__file__).parent.glob(f"paper/{kind}_[0-9]*.py"))
    },
    "tables-of-tasks": "paper.tables_of_tasks:tables_of_tasks",
    "figure-of-tasks": "paper.figure_of_tasks:figure_of_tasks",
    "method-times": "paper.method_times:method_times",
    "report-pages": "paper.report_pages:report_pages",
    "publish": "paper.publish:publish",
    "schema": "config.config:print_schema",
}
ONLINE = ("download", *BY_HAND)  # what may ask the hub
HELP = {
    errno.ENOSPC: "expected room on its disk: free some, then run again",
    errno.EDQUOT: "expected room in your quota: free some, then run again",
    errno.EROFS: "expected a disk that can be written to",
    errno.EACCES: "expected permission to do so",
    errno.EEXIST: "expected a folder there, or nothing",
    errno.ENOTDIR: "expected a folder above it",
    errno.EMFILE: "expected a higher limit of open files (ulimit -n)",
    errno.ENOENT: "expected it to be there",
    errno.EISDIR: "expected a file there, or nothing",
    errno.EPERM: "expected permission to do so",
    errno.ENAMETOOLONG: "expected a shorter name",
    errno.EIO: "expected a sound disk",
}

app = App(
    name="diffuselm",
    help="A model's answers to one prompt; and the stages of the workflow, files in, files out.",
    help_format="plaintext",
    version=__version__,
    default_parameter=Parameter(consume_multiple=True, negative=()),
    print_error=False,
    exit_on_error=False,
)
Parameter(name="*")(Settings)  # each setting is an option of its own


def _summary(function: str) -> str:
    """The first line of its docstring, from the source: an import may take seconds."""
    module, name = function.split(":")
    source = (
        Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py").read_text("utf-8")
    )
    (found,) = (node for node in ast.parse(source).body if getattr(node, "name", None) == name)
    return str(ast.get_docstring(found)).partition("\n")[0]  # type: ignore[arg-type]


for name, function in COMMANDS.items():
    listed = sys.argv[1:] in (["--help"], ["-h"], [])
    app.command(
        f"diffuselm.{function}",
        name=name,
        help=_summary(function) if listed else None,
        group="One prompt and a list of answers" if name in BY_HAND else "Stages of the workflow",
    )


@app.meta.default
def _launch(
    *words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    threads: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    times: Path | None = None,
) -> None:
    """Run a command.

    Args:
        threads: of torch; the last bits of results depend on their number.
        times: file to write the command's time and memory to.
    """
    began = time.monotonic()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    app(words)
    if times is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        unit = 2**20 if sys.platform == "darwin" else 2**10
        cpu, mib = used.ru_utime + used.ru_stime, used.ru_maxrss / unit
        took = f"{time.monotonic() - began:.2f}\t{cpu:.2f}\t{mib:.1f}"
        times.parent.mkdir(parents=True, exist_ok=True)
        times.write_text(f"s\tcpu_time\tmax_rss\n{took}\n", encoding="utf-8")


def command_of(words: Sequence[str]) -> str | None:
    """The command that is asked for: options of all commands may stand before it."""
    return next((word for word in words if word in COMMANDS), None)


class _StoppedError(BaseException):
    """A signal asked this process to end."""


def main() -> None:
    """Run a command; whatever ends it is one line on standard error and a non-zero exit code."""
    # PEFT still asks transformers by an older name; nothing a user could act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    # The hub is for what downloads; PEFT would ask it about a base model's files.
    if command_of(sys.argv[1:]) not in ONLINE:
        os.environ["HF_HUB_OFFLINE"] = "1"
    _on_signals(_stop)
    try:
        app.meta(sys.argv[1:])
    except CycloptsError as error:
        _end(_of_options(error), 2)
    except (InputError, NonFiniteLossError) as error:
        _end(str(error))
    except OSError as error:
        _end(_of_system(error))
    except (MemoryError, RuntimeError) as error:
        # Torch's own class, by name: it is not imported for the sake of an error.
        full = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator: " in str(error)
        if not isinstance(error, MemoryError) and not full:
            raise
        _end(f"out of memory ({error or type(error).__name__}); expected room for the model's work")
    except _StoppedError as stopped:
        number = stopped.args[0]
        _end(f"stopped by {signal.Signals(number).name}", 128 + number)


def _end(message: str, code: int = 1) -> NoReturn:
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    sys.exit(code)


def _of_options(error: CycloptsError) -> str:
    """A wrong command line: pydantic's errors in our words, others in the library's."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ValidationError):
        return f"--{one_line(cause, 'those of --help').replace('_', '-')}"
    return f"{' '.join(str(error).split())} (see diffuselm --help)"


def _of_system(error: OSError) -> str:
    """The file, what the system said of it, and what helps."""
    if error.errno is None:
        return str(error) or type(error).__name__
    name = error.filename2 or error.filename
    found = f"{name}: {error.strerror}" if name else str(error.strerror)
    return f"{found}; {HELP[error.errno]}" if error.errno in HELP else found


def _on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell starts what it runs in the background with interrupts ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    _on_signals(signal.SIG_IGN)  # one is enough, and a terminal's comes twice
    raise _StoppedError(number)
