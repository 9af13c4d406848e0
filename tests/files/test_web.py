"""Requests: tried again where that may help, waiting in between, and else one line with the URL."""

import time

import pytest

from diffuselm.errors import InputError
from diffuselm.files import web
from diffuselm.files.web import request
from loopback import endpoint

WHOLE = (200, "whole")
CUT = (200, "who", ("Content-Length", 5))


@pytest.fixture
def waits(monkeypatch):
    """How long was waited, in place of waiting."""
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def refused(url, expected):
    with pytest.raises(InputError, match=f"^{url}: {expected}.*; expected a file$") as error:
        request("GET", url, expected="a file")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("first", [(408, ""), (429, ""), (500, ""), (503, ""), CUT])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_passing_failure_is_waited_out_with_growing_pauses(waits, method, first):
    with endpoint(lambda n, _: first if n < 4 else WHOLE) as (url, calls):
        assert request(method, url, expected="a file").text == "whole"
    assert len(calls) == 4
    assert waits == sorted(set(waits))
    assert len(waits) >= 2


def test_a_retry_waits_as_long_as_the_server_says(waits):
    with endpoint(lambda n, _: (429, "", ("Retry-After", "7")) if n == 1 else WHOLE) as (url, _):
        request("GET", url, expected="a file")
    assert waits == [7]


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize(("last", "found"), [((503, ""), "HTTP 503"), (CUT, "no answer .*Incompl")])
def test_a_server_that_stays_bad_is_one_line_after_the_last_retry(last, found):
    with endpoint(lambda *_: last) as (url, calls):
        refused(url, found)
    assert len(calls) == 1 + web.RETRIES


@pytest.mark.usefixtures("waits")
def test_no_server_at_all_is_one_line():
    with endpoint(None) as (url, _):
        pass
    refused(url, "no answer")


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_final_refusal_is_one_line_and_not_asked_for_again(status):
    with endpoint(lambda *_: (status, "no")) as (url, calls):
        refused(url, f"HTTP {status}")
    assert len(calls) == 1


def test_a_server_that_says_nothing_is_one_line(monkeypatch):
    monkeypatch.setattr(web, "RETRIES", 0)

    def silent(*_):
        time.sleep(0.5)
        return WHOLE

    with endpoint(silent) as (url, _):
        with pytest.raises(InputError, match=f"^{url}: no answer .*timed? ?out") as error:
            request("GET", url, expected="a file", timeout=0.1)
        assert "\n" not in str(error.value)
