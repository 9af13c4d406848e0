"""The card of a dataset of records: the hub's metadata, columns, how it was made, its diversity.

`templates/dataset_card.md.jinja` has its text.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from huggingface_hub import DatasetCard, DatasetCardData

from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json
from diffuselm.files.runs import HELD, is_held
from diffuselm.files.tables import read_parts
from diffuselm.files.whole import written_whole
from diffuselm.measure.record_metrics import counted_columns
from diffuselm.measure.records import records_schema
from diffuselm.paper.comparison import read_metrics
from diffuselm.paper.table_files import DASH, escape_markdown, markdown_rows
from diffuselm.paper.templating import TEMPLATES
from diffuselm.tasks.prompts import task_of
from diffuselm.tasks.record_kinds import KINDS
from diffuselm.tasks.records import GENDERS, PERSONS, Records
from diffuselm.tasks.target_sets import read_prompts

COMMONEST = 3  # values of a column
# As the hub names sizes: each below its number, the last for a run asked for the most records.
SIZES = {
    10**3: "n<1K",
    10**4: "1K<n<10K",
    10**5: "10K<n<100K",
    10**6: "100K<n<1M",
    10**7: "1M<n<10M",
    10**8: "10M<n<100M",
    10**9: "100M<n<1B",
    10**10: "1B<n<10B",
}
# Metric -> its title and digits.
METRICS = {
    "coverage": ("distinct values", 0),
    "entropy": ("entropy (nats)", 2),
    "top_share": ("share of the commonest", 3),
    "unigram_diversity": ("distinct words / words", 3),
    "valid_rate": ("valid", 3),
}
# What the columns mean that every dataset has.
OF_ALL = {
    "prompt": "id of the prompt",
    "seed": "of the run",
    "draw": "number of the answer to the prompt",
    "valid": "the answer is a record: every field there, in order, and of its kind",
    "problem": "what is wrong with an answer that is not valid, whose fields not given are null",
    "duplicate": "an earlier answer is the same",
    "near_duplicate": "most three-word runs of the fields left to the model are an earlier "
    "record's, too (MinHash, Jaccard of 0.8 or more)",
    "flags": "tag (of HTML), link, formula (that a spreadsheet computes), unseen (control "
    "characters), or null",
    "answer": "the answer as it was written",
}


@dataclass
class Counts:
    """What is counted of one dataset, part by part."""

    rows: int = 0
    valid: int = 0
    duplicate: int = 0
    near_duplicate: int = 0
    flagged: int = 0
    values: dict[str, Counter] = field(default_factory=dict)  # of each column, of valid records


def dataset_card(
    *,
    tables: list[Path],
    runs: list[Path],
    metrics: Path,
    targets: Path,
    tuning: str,
    start: str | None = None,
    license: str | None = None,
    out: Path,
) -> None:
    """Write README.md of the datasets of one task and model.

    Args:
        tables: a dataset for each run.
        runs: the run.json of the answers in each, in the same order.
        metrics: those of the model.
        targets: target set of the task.
        tuning: the tuning on the task, whose dataset is shown first.
        start: the tuning whose adapter that one trained further, if one.
        license: the hub's name of the licence.
        out: file to write.
    """
    prompts = read_prompts([targets])
    task = task_of(prompts[0].id)
    by_run = {path.stem: path for path in tables}
    if tuning not in by_run:
        raise InputError(f"{tuning}: none of {', '.join(by_run)}; expected the name of a dataset")
    form, names = prompts[0].records, sorted(by_run, key=lambda name: name != tuning)
    made = read_json(dict(zip(by_run, runs, strict=True))[tuning])
    before = HELD if is_held(tuning) else "base"
    counts = {name: _counts(path, form) for name, path in by_run.items()}
    measured = read_metrics(metrics)
    own = measured[
        (measured["task"] == task_of(prompts[0].id)) & (measured["seed"] == made["seed"])
    ]
    card = DatasetCard.from_template(
        _metadata(names, by_run, counts, form, license),
        template_path=str(TEMPLATES / "dataset_card.md.jinja"),
        task=task,
        form=form,
        model=made["model"],
        run=made,
        tuning=tuning,
        before=before,
        start=start,
        license=license,
        texts=dict.fromkeys(prompt.text for prompt in prompts[:1]),
        prompts=prompts,
        counts={name: counts[name] for name in names},
        columns=list(_columns(form)),
        made=list(_made(form)),
        diversity=list(_diversity(own, tuning, before)),
        commonest=list(_commonest(counts.get(before), counts[tuning])),
        md=escape_markdown,
        table=_table,
    )
    with written_whole(out) as part:
        part.write_text(f"{card.content}\n", encoding="utf-8", newline="\n")


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; every cell is text, whatever a model wrote into it."""
    return markdown_rows(heads, [[escape_markdown(str(cell)) for cell in row] for row in rows])


def _metadata(
    names: Sequence[str],
    by_run: Mapping[str, Path],
    counts: Mapping[str, Counts],
    form: Records,
    license: str | None,
) -> DatasetCardData:
    """What the hub's viewer reads: a config for each run, the first by default."""
    largest = counts[names[0]].rows
    return DatasetCardData(
        license=license,
        pretty_name=f"Synthetic records: {form.record}",
        annotations_creators=["machine-generated"],
        language_creators=["machine-generated"],
        size_categories=[next(size for top, size in SIZES.items() if largest < top)],
        source_datasets=["original"],
        task_categories=["text-generation"],
        tags=["synthetic", "diffuse-distributions"],
        configs=[
            {"config_name": name, "data_files": [{"split": "train", "path": by_run[name].name}]}
            | ({"default": True} if name == names[0] else {})
            for name in names
        ],
        dataset_info=[
            {
                "config_name": name,
                "features": [{"name": c, "dtype": type} for c, type in form.columns.items()],
                "splits": [
                    {
                        "name": "train",
                        "num_bytes": _bytes_in_memory(by_run[name]),
                        "num_examples": counts[name].rows,
                    }
                ],
                "download_size": by_run[name].stat().st_size,
                "dataset_size": _bytes_in_memory(by_run[name]),
            }
            for name in names
        ],
    )


def _bytes_in_memory(path: Path) -> int:
    metadata = pq.read_metadata(path)
    return sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))


def _counts(path: Path, form: Records) -> Counts:
    found = Counts()
    columns = [column for name in form.fields for column in counted_columns(form, name)]
    found.values = {column: Counter() for column in columns}
    for part in read_parts(path, records_schema(form)):
        rows = part.to_pandas(integer_object_nulls=True)
        valid = rows[rows["valid"]]
        found.rows += len(rows)
        found.valid += len(valid)
        found.duplicate += int(rows["duplicate"].sum())
        found.near_duplicate += int(rows["near_duplicate"].sum())
        found.flagged += int(rows["flags"].notna().sum())
        for column, values in found.values.items():
            values.update(valid[column])
    return found


def _columns(form: Records) -> Iterator[tuple[str, str, str]]:
    """Name, type and meaning of each column."""
    meanings = {
        column.format(name): f"{meaning}; {_how(form, name)}"
        for name in form.fields
        for column, (_, meaning) in KINDS[form.kind(name)].columns.items()
    }
    meanings |= {f"repeated_{name}": f"an earlier record has this {name}" for name in form.named}
    yield from ((name, type, (OF_ALL | meanings)[name]) for name, type in form.columns.items())


def _how(form: Records, name: str) -> str:
    if form.fields[name].given:
        return "given in the prompt"
    return "tuned on" if name in form.tuned else "left to the model"


def _made(form: Records) -> Iterator[tuple[str, str, str]]:
    """Each field, where it comes from, and its distribution."""
    for name in form.fields:
        yield name, _how(form, name), _distribution(form, name)


def _distribution(form: Records, name: str) -> str:
    field_ = form.fields[name]
    if field_.draw_from:
        genders = ", ".join(f"{count} {gender.lower()}" for gender, count in GENDERS.items())
        part = f"the first {form.count} of a shuffled list of " if form.count < PERSONS else ""
        return f"persons: {part}{PERSONS} by rule ({genders}; even over years and countries)"
    if field_.each:
        return f"by {field_.by}: " + "; ".join(
            f"{value}: {_of_source(source)}" for value, source in field_.each.items()
        )
    return _of_source(field_) if field_.drawn else DASH


def _of_source(source: Any) -> str:
    ends = source.range or source.dates
    if ends:
        return f"{ends[0]} to {ends[1]}, even"
    pairs = list(zip(source.values.texts, source.values.weights, strict=True))
    shown = ", ".join(f"{text} {weight:.3g}" for text, weight in pairs[:12])
    return shown + (f", … ({len(pairs)} values)" if len(pairs) > 12 else "")


def _diversity(own: pd.DataFrame, tuning: str, before: str) -> Iterator[tuple[object, ...]]:
    """Each field and metric before and after, with n: of several prompts, means."""
    fields = own[(own["tuning"] == tuning) & (own["field"] != "value")]
    for (field_, metric), _ in fields.groupby(["field", "metric"], sort=False):
        if metric in METRICS:
            title, digits = METRICS[metric]
            rows = [
                own[(own["tuning"] == t) & (own["field"] == field_) & (own["metric"] == metric)]
                for t in (before, tuning)
            ]
            yield (field_, title, *(_cell(found, digits) for found in rows))


def _cell(rows: pd.DataFrame, digits: int) -> str:
    if rows.empty:
        return DASH
    value = f"{rows['value'].mean():.{digits}f}"
    if len(rows) == 1:
        value += f" ({rows['ci_low'].iloc[0]:.{digits}f}–{rows['ci_high'].iloc[0]:.{digits}f})"
    least, most = rows["n"].min(), rows["n"].max()
    return f"{value}, n = {least:,}" + (f"–{most:,}" if most > least else "")


def _commonest(base: Counts | None, tuned: Counts) -> Iterator[tuple[object, ...]]:
    """The commonest values of each column before and after, with their shares."""
    for column, values in tuned.values.items():
        yield column, _top(base.values[column] if base else Counter()), _top(values)


def _top(values: Counter) -> str:
    pairs = sorted(values.items(), key=lambda pair: (-pair[1], str(pair[0])))[:COMMONEST]
    return "; ".join(f"{value}: {count / values.total():.1%}" for value, count in pairs) or DASH
