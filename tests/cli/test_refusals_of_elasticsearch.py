"""What Elasticsearch refuses is one sentence, whichever command asked."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

WORDS = "canary-in-what-it-says"


class Refusing(BaseHTTPRequestHandler):
    """Refuses whatever is asked."""

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = f'{{"error":"{WORDS}","status":400}}'.encode()
        self.send_response(400)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _refuse  # noqa: N815 - http.server's names

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing() -> Iterator[dict[str, str]]:
    """Settings that name an Elasticsearch that refuses."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield {"KLINGEL_ELASTICSEARCH__URL": f"http://127.0.0.1:{server.server_port}"}
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "command",
    [
        "index key cli",
        "index roles --apply",
        "index apply",
        "index check",
        "search router",
        "case list",
        "incident close x --brand nordlicht",
    ],
)
def test_a_refusal_is_one_sentence(run, refusing, command: str) -> None:
    result = run(*command.split(), env=refusing)
    assert result.exit_code == 2, result.output
    assert "Elasticsearch" in result.output
    assert WORDS not in result.output
    assert isinstance(result.exception, SystemExit)
