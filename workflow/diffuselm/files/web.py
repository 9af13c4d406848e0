"""Requests to servers: tried again where that may help, and one line where no answer comes."""

import time
from typing import TYPE_CHECKING, Any

from diffuselm.errors import InputError

if TYPE_CHECKING:
    import requests

RETRIES = 6
BACKOFF_SECONDS = 1.0  # doubled at each retry
TIMEOUT_SECONDS = 60.0  # without a byte from the server
MAY_PASS = {408, 429, *range(500, 600)}


def request(
    method: str, url: str, *, expected: str, timeout: float = TIMEOUT_SECONDS, **arguments: Any
) -> "requests.Response":
    """The answer to a request, whole; `arguments` are those of `requests.request`.

    Tried again, after growing pauses or when the server says: no connection, a time-out, HTTP
    `MAY_PASS`, and a body that is cut short. Raises InputError for any answer but HTTP 200.
    """
    import requests  # takes a while to import, and few jobs need it
    from requests.exceptions import ChunkedEncodingError

    for retry in range(RETRIES + 1):
        try:
            with _session() as session:
                answer = session.request(method, url, timeout=timeout, **arguments)
            break
        except requests.RequestException as error:
            if isinstance(error, ChunkedEncodingError) and retry < RETRIES:
                time.sleep(BACKOFF_SECONDS * 2**retry)
                continue
            cause = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"{url}: no answer ({cause}); expected {expected}") from error
    if answer.status_code != requests.codes.ok:
        raise InputError(f"{url}: HTTP {answer.status_code}; expected {expected}")
    return answer


def _session() -> "requests.Session":
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    retry = Retry(
        RETRIES,
        allowed_methods=None,  # all
        status_forcelist=MAY_PASS,
        backoff_factor=BACKOFF_SECONDS,
        raise_on_status=False,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session
