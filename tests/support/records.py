"""Records of models, as the stage `models` writes them for the tests."""

from pathlib import Path

from diffuselm.files.provenance import read_json
from diffuselm.stages.model import run

SETTINGS = {
    "dtype": None,
    "four_bit": False,
    "attention": None,
    "gpus": 1,
    "device_map": None,
    "end_tokens": None,
    "template_args": {},
    "leading_space": None,
}


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
    run(
        name=name,
        path=None if download else folder,
        download=download,
        converted=converted,
        stand_in=stand_in,
        paper_model=None,
        settings=SETTINGS | settings,
        chat_template=template,
        out=out,
    )
    return read_json(out)
