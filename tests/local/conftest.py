"""A small artifact repository on this machine, with the faults that real ones have."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest


@dataclass
class Repository:
    """What the server serves and how it misbehaves.

    Attributes:
        files: Path -> content.
        ranges: Whether parts are served.
        cut_after: Break the connection of a body after so many bytes, for the next `cuts` answers.
        cuts: How many answers are still to be broken.
        refusals: Status codes of the next answers, before it serves.
        requests: Path and Range header of every request.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut_after: int = 0
    cuts: int = 0
    refusals: list[int] = field(default_factory=list)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0


def _handler(repository: Repository) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            repository.requests.append((self.path, wanted))
            content = repository.files.get(self.path.lstrip("/"))
            if repository.refusals:
                self.send_error(repository.refusals.pop(0))
                return
            if content is None:
                self.send_error(404)
                return
            first, last = 0, len(content) - 1
            if wanted and repository.ranges:
                begin, _, end = wanted.removeprefix("bytes=").partition("-")
                first, last = int(begin), min(int(end or last), last)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            else:
                self.send_response(200)
            body = content[first : last + 1]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if repository.cuts and len(body) > repository.cut_after:
                repository.cuts -= 1
                body = body[: repository.cut_after]
                self.close_connection = True
            repository.sent += len(body)
            with contextlib.suppress(ConnectionError):  # a probe hangs up before the end
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    return Handler


@pytest.fixture
def repository() -> Iterator[Repository]:
    served = Repository()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    served.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()
