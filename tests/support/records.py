"""Records of models, as the stage `record` writes them for the tests."""

from pathlib import Path

from diffuselm.config.models import OpeningSettings
from diffuselm.files.json_files import read_json
from diffuselm.stages.record import record


def write_record(
    out: Path,
    folder: Path | None,
    *,
    name="own",
    stand_in=False,
    template=None,
    download=None,
    converted=None,
    **settings,
):
    """Put the model of a folder on record; returns what was written."""
    made = download or converted
    record(
        name=name,
        path=None if made else folder,
        made=made,
        stand_in=stand_in,
        settings=OpeningSettings(chat_template=template, **settings),
        out=out,
    )
    return read_json(out)
