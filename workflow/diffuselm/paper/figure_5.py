"""Figure 5: where the people of biographies are born, on maps of the world."""

import math
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import cartopy.crs as ccrs
import numpy as np
import pandas as pd
import pyarrow.compute as pc
from cartopy.mpl.geoaxes import GeoAxes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffuselm.files.runs import is_held
from diffuselm.files.tables import read_table
from diffuselm.paper import drawing
from diffuselm.paper.biographies import COLUMNS, tunings_of
from diffuselm.paper.comparison import Models, RunFiles, by_model_and_tuning, falling, load_models
from diffuselm.paper.gazetteer import locate

_SHOWN = 500  # biographies on a map, as in Appendix B.4
_COLUMNS = ["model", "tuning", "place", "count", "latitude", "longitude"]
_MAP = ccrs.PlateCarree()
_EXTENT = (-180, 180, -58, 84)  # degrees: without the Antarctic, where no city lies
_AREA = 2.5  # of the circle of one biography, as Matplotlib counts it (diameter squared, points)
_LAND, _SEA = (np.array(to_rgba(colour)[:3]) for colour in ("#e6e6e6", "white"))


def figure_5(*, biographies: list[Path], records: list[Path], out: Path) -> None:
    """Write `out`/figure-5.png, .pdf and .csv: birth places of 500 biographies at base, OOD and ID.

    `biographies` are files `{model}/{tuning}.parquet` of `biographies.COLUMNS`, as far as they
    were run; `records` the models' JSON files in the order of the rows. Needs no network. Raises
    InputError for bad inputs.
    """
    models, written = load_models(records), by_model_and_tuning(biographies)
    data = figure_5_data(written, models)
    drawing.write_figure(out, 5, _figure_5(data, models, written.keys()), data)


def figure_5_data(written: RunFiles, models: Models) -> pd.DataFrame:
    """How many of the first 500 valid biographies of each (model, tuning) are born in each place.

    Places stand as they were written, most frequent first, with latitude and longitude in degrees:
    null where `gazetteer.locate` does not know them.
    """
    rows = []
    for model, _, _, tuning in tunings_of(models):
        path = written.get((model.model, tuning))
        for (place, city, country), count in _counts(path) if path else ():
            found = locate(city, country) or (math.nan, math.nan)
            rows.append((model.model, tuning, place, count, *found))
    # Types for the case that there is no row.
    types = {"count": "int64", "latitude": "float64", "longitude": "float64"}
    return pd.DataFrame(rows, columns=_COLUMNS).astype(types)


def _counts(path: Path) -> list[tuple[tuple[str, str, str], int]]:
    """Place, city and country of the first valid biographies, with how many share them."""
    valid = read_table(path, COLUMNS).filter(pc.field("valid"))
    first = valid.sort_by([("seed", "ascending"), ("draw", "ascending")]).slice(0, _SHOWN)
    columns = (first[name].fill_null("").to_pylist() for name in ("birth_place", "city", "country"))
    return falling(Counter(zip(*columns, strict=True)))


@drawing.in_style
def _figure_5(data: pd.DataFrame, models: Models, run: Collection[tuple[str, str]]) -> Figure:
    """A row of maps for each model, one map for each of base, OOD and ID."""
    rows = max(len(models), 1)
    figure = drawing.page(0.7 + 1.1 * rows)
    axes = figure.subplots(rows, 3, squeeze=False, subplot_kw={"projection": _MAP})
    for panel, (model, condition, _, tuning) in zip(axes.flat, tunings_of(models), strict=False):
        own = data[(data["model"] == model.model) & (data["tuning"] == tuning)]
        _map(panel, own, drawing.CONDITIONS[condition])
        known = own.loc[own["latitude"].notna(), "count"].sum()
        found = f"{known} of {own['count'].sum()} found"
        below = found if (model.model, tuning) in run else "not run"
        below += "; held to the form" if is_held(tuning) else ""
        panel.text(0.5, -0.03, below, transform=panel.transAxes, ha="center", va="top")
    for panel, model in zip(axes[:, 0], models, strict=False):
        left = {"transform": panel.transAxes, "ha": "right", "va": "center"}
        panel.text(-0.02, 0.5, drawing.model_label(model, lines=2), rotation=90, fontsize=6, **left)
    for panel, title in zip(axes[0], drawing.condition_labels("base", "biographies"), strict=True):
        panel.set_title(title)
    circle = {"marker": "o", "mfc": "none", "mec": "black", "mew": 0.4, "ls": "none"}
    handles = [
        Line2D([], [], ms=(_AREA * count) ** 0.5, label=label, **circle)
        for count, label in ((1, "1 biography"), (10, "10"), (100, "100 biographies"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _map(panel: GeoAxes, data: pd.DataFrame, colour: str) -> None:
    """Land and sea, and on them a circle for each place, its area in proportion to the count."""
    panel.set_extent(_EXTENT, crs=_MAP)
    panel.spines["geo"].set_linewidth(0.4)
    # The one background that comes with cartopy; others would be downloaded.
    picture = panel.stock_img()
    red, _, blue = np.moveaxis(np.asarray(picture.get_array(), float)[..., :3], -1, 0)
    picture.set_data(np.where((blue - red > 0.12)[..., None], _SEA, _LAND))
    known = data.dropna(subset="latitude")
    at = known.groupby(["longitude", "latitude"], as_index=False)["count"].sum()
    panel.scatter(
        at["longitude"],
        at["latitude"],
        s=_AREA * at["count"],
        facecolors=[to_rgba(colour, 0.4)],
        edgecolors=[to_rgba(colour, 0.9)],
        linewidths=0.4,
        transform=_MAP,
        zorder=3,
    )
