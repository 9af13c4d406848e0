"""A Hugging Face hub on loopback, with one repository, for tests of what fetches a model."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REPO = "lab/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_token0of0a0user"


@dataclass
class Answer:
    """What the hub sends; `length` is what it announces, `cut` closes before the body's end."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    cut: int | None = None


def refusal(status: int, code: str = "", message: str = "") -> Answer:
    """An error as the hub words it: in headers and in a JSON body."""
    headers = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"}
    body = json.dumps({"error": message}).encode()
    return Answer(status, body, {name: value for name, value in headers.items() if value})


@dataclass
class Hub:
    """One repository with a branch `main` at COMMIT; `requests` are (method, path), as they came.

    `trouble(method, path, answer)` may replace an answer, or return None to give none at all.
    """

    files: dict[str, bytes]
    private: bool = False
    gated: bool = False
    trouble: Callable[[str, str, Answer], Answer | None] = lambda method, path, answer: answer
    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, path: str, token: str | None) -> Answer:
        """The answer to GET, as huggingface.co gives it."""
        if token not in (None, TOKEN):
            return refusal(401, message="Invalid credentials in Authorization header")
        if path.startswith("/api/models/"):
            repo, _, rest = path.removeprefix("/api/models/").partition("/revision/")
            if not rest:
                repo, _, rest = repo.partition("/tree/")
            revision, name = rest, None
        else:
            repo, _, rest = path.removeprefix("/").partition("/resolve/")
            revision, _, name = rest.partition("/")
        if repo != REPO or (self.private and token is None):
            # Whether a private repository exists is told to nobody else.
            missing = refusal(401, message="Invalid username or password.")
            return missing if token is None else refusal(404, "RepoNotFound", "Not found")
        if revision not in ("main", COMMIT):
            return refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if name is None:
            return self._list(path)
        if self.gated:
            return refusal(401 if token is None else 403, "GatedRepo", "Access is restricted.")
        return self._file(name)

    def _list(self, path: str) -> Answer:
        if "/tree/" in path:
            told = [
                {"type": "file", "path": name, "size": len(data), "oid": etag(data)[:40]}
                for name, data in self.files.items()
            ]
        else:
            siblings = [{"rfilename": name} for name in self.files]
            told = {"id": REPO, "sha": COMMIT, "siblings": siblings}
        return Answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str) -> Answer:
        if name not in self.files:
            return refusal(404, "EntryNotFound", "Entry not found")
        data = self.files[name]
        headers = {"ETag": f'"{etag(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        return Answer(200, data, headers)


def etag(data: bytes) -> str:
    """The hub's name for a file's content."""
    return hashlib.sha256(data).hexdigest()


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve the hub at `hub.url`, and stop it in the end."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path))
            sent = self.headers.get("Authorization")
            answer = hub.answer(path, sent and sent.removeprefix("Bearer "))
            first = self.headers.get("Range", "").removeprefix("bytes=").rstrip("-")
            if first and answer.status == 200:
                part = answer.body[int(first) :]
                span = f"bytes {first}-{len(answer.body) - 1}/{len(answer.body)}"
                headers = {**answer.headers, "Content-Range": span}
                answer = Answer(206, part, headers)
            answer = hub.trouble(self.command, path, answer)
            if answer is None:
                over.wait()
            else:
                self._send(answer)

        def do_HEAD(self):
            self.do_GET()

        def _send(self, answer):
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            length = len(answer.body) if answer.length is None else answer.length
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(answer.body[: answer.cut])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    try:
        yield hub
    finally:
        over.set()
        server.shutdown()
        server.server_close()
