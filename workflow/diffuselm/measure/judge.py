"""The judge of MT-Bench: a language model behind an endpoint that speaks OpenAI's protocol.

Its key is read from the environment and written nowhere.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import requests

from diffuselm.errors import InputError
from diffuselm.files import web
from diffuselm.files.json_files import read_json, write_json
from diffuselm.files.provenance import content_hash

MAX_TOKENS = 1024  # of one verdict
TIMEOUT_SECONDS = 300.0  # without a byte from the server

_KEY = re.compile(r"[!-~]+")  # what a header can carry


@dataclass(frozen=True)
class Judge:
    """A pinned model behind an endpoint, and the folder that keeps whatever it has said."""

    url: str  # `/chat/completions` is added to it
    model: str
    key_env: str | None  # the NAME of the environment variable that holds the key
    cache: Path

    def ask(self, prompt: str, repeat: int) -> str:
        """What the judge says to `prompt`; asked once for each repeat, then kept.

        Raises InputError, naming the URL, where no verdict comes.
        """
        payload = {
            "model": self.model,
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
            "messages": [{"role": "user", "content": prompt}],
        }
        asked = {"url": self.url, "payload": payload, "repeat": repeat}
        kept = self.cache / f"{content_hash(asked)}.json"
        if not kept.exists():
            url = f"{self.url.rstrip('/')}/chat/completions"
            answer = web.request(
                "POST",
                url,
                json=payload,
                # As a plain header, the key would give way to one of ~/.netrc.
                auth=None if self.key_env is None else self._sign,
                allow_redirects=False,  # a redirect could carry the key to another host
                timeout=TIMEOUT_SECONDS,
                expected="a chat completion",
            )
            write_json(kept, {**asked, "text": _content(answer, url)})
        return read_json(kept)["text"]

    def _sign(self, call: requests.PreparedRequest) -> requests.PreparedRequest:
        call.headers["Authorization"] = f"Bearer {_key(self.key_env)}"
        return call


def _content(response: requests.Response, url: str) -> str:
    """The text of a chat completion; empty where the judge refuses.

    Raises InputError for any other body, without showing it: it may repeat the request's headers.
    """
    try:
        text = response.json()["choices"][0]["message"]["content"]
        # JSON may hold half a surrogate pair, which no file can.
        return "" if text is None else text.encode(errors="replace").decode()
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        kind = response.headers.get("Content-Type")
        raise InputError(
            f"{url}: HTTP 200 with {len(response.content)} bytes of {kind!r} that are no chat "
            "completion; expected choices[0].message.content"
        ) from error


def _key(name: str) -> str:
    """The key in an environment variable; errors name only the variable."""
    key = os.environ.get(name, "").strip()
    if not _KEY.fullmatch(key):
        found = "holds spaces or other characters that no key has" if key else "is not set"
        raise InputError(f"environment variable {name} {found}; expected the judge's key")
    return key
