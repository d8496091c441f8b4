"""What Elasticsearch refuses is one sentence, whichever command asked."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

WORDS = "canary-in-what-it-says"


class Refusing(BaseHTTPRequestHandler):
    """Refuses whatever is asked, with the status that the path begins with."""

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status = int(self.path.split("/")[1])
        body = f'{{"error":"{WORDS}","status":{status}}}'.encode()
        self.send_response(status)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _refuse  # noqa: N815 - http.server's names

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of an Elasticsearch that refuses with the status of the path."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
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
        "case show nordlicht:webhook:network:1:webhook:anna#1",
        "explain webhook:network:1@0",
        "incident close x --brand nordlicht",
    ],
)
@pytest.mark.parametrize(("status", "exit_code"), [(400, 2), (401, 2), (503, 3)])
def test_a_refusal_is_one_sentence(run, refusing, command: str, status, exit_code) -> None:
    """What is asked wrong is exit 2; what may be asked again is 3. A credential is called by name."""
    result = run(*command.split(), env={"KLINGEL_ELASTICSEARCH__URL": f"{refusing}/{status}"})
    assert result.exit_code == exit_code, result.output
    assert ("our credential" if status == 401 else "Elasticsearch") in result.output
    assert WORDS not in result.output
    assert isinstance(result.exception, SystemExit)
