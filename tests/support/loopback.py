"""A server on loopback, for tests of what asks another machine."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text):
    """What an OpenAI-compatible endpoint answers."""
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


@contextmanager
def endpoint(answer):
    """A server that gives `answer(call number, call)`, a status, a body and headers, to each call.

    A call is a dictionary of path, headers and JSON payload. Yields the URL and the calls so far.
    """
    calls = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            payload = json.loads(sent) if sent else None
            call = {"path": self.path, "headers": dict(self.headers), "payload": payload}
            calls.append(call)
            status, body, *headers = answer(len(calls), call)
            body = body if isinstance(body, bytes) else body.encode()
            self.send_response(status)
            for name, value in {"Content-Length": len(body), **dict(headers)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.do_POST()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", calls
    finally:
        server.shutdown()
        server.server_close()
