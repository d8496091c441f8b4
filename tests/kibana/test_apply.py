"""`klingel kibana apply` against a stand-in for Kibana that records what it is given, over HTTP.

No Kibana runs here. The stand-in takes an import as Kibana's API describes it: a multipart form
with one file of NDJSON, `kbn-xsrf`, a credential, a space in the path.
"""

import email
import email.policy
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from klingel_cli.kibana.definitions import Definitions
from klingel_cli.kibana.objects import saved_objects
from klingel_cli.main import main

KEY = "c2VjcmV0LWNhbmFyeQ=="
Answer = tuple[int, bytes]


class Kibana:
    """Saved objects by space, type and id; `answer` replaces its next answers.

    Args:
        certified: files of its certificate and key; it speaks in clear without.
    """

    def __init__(self, certified: tuple[Path, Path] | None = None) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.answer: Answer | None = None
        self.refused: set[str] = set()
        kibana = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, content = kibana.take(self.path, dict(self.headers.items()), body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_what: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certified is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certified)
            listening = self._server.socket
            self._server.socket = context.wrap_socket(listening, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()
        scheme = "http" if certified is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def take(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Import, as Kibana does."""
        self.requests.append((path, headers))
        if self.answer is not None:
            return self.answer
        if "kbn-xsrf" not in headers:
            return 400, b'{"message": "Request must contain a kbn-xsrf header."}'
        if headers.get("Authorization") != f"ApiKey {KEY}":
            return 401, b"{}"
        where, _, query = path.partition("?")
        assert query == "overwrite=true"
        before, _, after = where.partition("/api/saved_objects/_import")
        assert after == ""
        space = before.rpartition("/s/")[2] if "/s/" in before else "default"
        return 200, self._import(space, _file_of(headers["Content-Type"], body))

    def _import(self, space: str, file: bytes) -> bytes:
        errors = []
        for line in file.splitlines():
            each = json.loads(line)
            assert {"type", "id", "attributes", "references"} <= set(each)
            if each["attributes"]["title"] in self.refused:
                error = {"type": "unsupported_type"}
                errors.append(
                    {"id": each["id"], "type": each["type"], "error": error, "meta": {"title": "x"}}
                )
                continue
            self.objects[space, each["type"], each["id"]] = each
        count = len(file.splitlines()) - len(errors)
        answer = {"success": not errors, "successCount": count, "errors": errors}
        return json.dumps(answer).encode()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _file_of(content_type: str, body: bytes) -> bytes:
    """Return the one file of a form, read by another implementation than wrote it."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    (part,) = form.iter_parts()  # type: ignore[attr-defined] # of EmailMessage, which the policy makes
    assert part.get_param("name", header="content-disposition") == "file"
    assert part.get_filename().endswith(".ndjson")
    content: bytes = part.get_payload(decode=True)
    return content


@pytest.fixture
def kibana() -> Iterator[Kibana]:
    """The stand-in, listening."""
    made = Kibana()
    yield made
    made.close()


Apply = Callable[..., Result]


@pytest.fixture
def apply(kibana: Kibana) -> Apply:
    """Run the command against it; keywords are settings."""

    def run(*arguments: str, **settings: str) -> Result:
        env = {"KLINGEL_KIBANA__URL": kibana.url, "KLINGEL_KIBANA__API_KEY": KEY, **settings}
        return CliRunner().invoke(main, ["kibana", "apply", *arguments], env=env)

    return run


def test_everything_is_taken_once_and_again(
    kibana: Kibana, apply: Apply, definitions: Definitions
) -> None:
    result = apply()
    assert result.exit_code == 0, result.output
    expected = saved_objects(definitions, "klingel-")
    assert [*kibana.objects.values()] == expected
    assert f"{len(expected)} objects in the space default" in result.output
    assert "dashboards: Brand, Care, Completeness, Dead letters, Early warning" in result.output
    before = dict(kibana.objects)
    assert apply().exit_code == 0
    assert kibana.objects == before
    first, second = kibana.requests
    assert first[0] == second[0] == "/api/saved_objects/_import?overwrite=true"


def test_a_space_a_base_path_and_a_prefix(kibana: Kibana, apply: Apply) -> None:
    result = apply(
        "--space",
        "brands",
        KLINGEL_KIBANA__URL=f"{kibana.url}/kibana/",
        KLINGEL_ELASTICSEARCH__INDEX_PREFIX="acme-",
    )
    assert result.exit_code == 0, result.output
    assert kibana.requests[0][0].startswith("/kibana/s/brands/api/saved_objects/_import?")
    assert {space for space, _, _ in kibana.objects} == {"brands"}
    views = [each for (_, kind, _), each in kibana.objects.items() if kind == "index-pattern"]
    assert all(each["attributes"]["title"].startswith("acme-") for each in views)


def test_what_kibana_does_not_take_is_named_and_ends_with_1(kibana: Kibana, apply: Apply) -> None:
    kibana.refused = {"klingel: Care"}
    result = apply()
    assert result.exit_code == 1
    assert "not taken  dashboard x: unsupported_type" in result.output
    told = json.loads(apply("--json").output)
    assert told["errors"] == ["dashboard x: unsupported_type"]
    assert told["imported"] == len(kibana.objects)


@pytest.mark.parametrize(
    ("answer", "code", "sentence"),
    [
        ((401, b"{}"), 2, "refuses our credential for the space default"),
        ((403, b"{}"), 2, "see KLINGEL_KIBANA__API_KEY"),
        ((404, b"{}"), 2, "see KLINGEL_KIBANA__URL and KLINGEL_KIBANA__SPACE"),
        ((429, b""), 3, "answered 429"),
        ((503, b"Kibana server is not ready yet"), 3, "try again when it is well"),
        ((200, b"<html>"), 3, "does not speak like Kibana"),
        ((200, b"[1]"), 3, "does not speak like Kibana"),
        ((200, b'{"successCount": null}'), 3, "does not speak like Kibana"),
        ((200, b'{"successCount": 1, "errors": [3]}'), 3, "does not speak like Kibana"),
        ((200, b"[" * 100_000), 3, "does not speak like Kibana"),
    ],
)
def test_a_strange_answer_is_one_sentence(
    kibana: Kibana, apply: Apply, answer: Answer, code: int, sentence: str
) -> None:
    kibana.answer = answer
    result = apply()
    assert result.exit_code == code
    assert sentence in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert KEY not in result.output


def test_a_kibana_that_is_away_is_one_sentence(apply: Apply, unused_tcp_port: int) -> None:
    result = apply(KLINGEL_KIBANA__URL=f"http://127.0.0.1:{unused_tcp_port}")
    assert result.exit_code == 3
    assert "does not answer (ConnectionRefusedError)" in result.output


@pytest.mark.parametrize(
    "url", ["kibana:5601", "ftp://kibana", "http://", "http://me:secret@kibana", "http://k:99999"]
)
def test_what_is_no_address_is_one_sentence(apply: Apply, url: str) -> None:
    result = apply(KLINGEL_KIBANA__URL=url)
    assert result.exit_code == 2
    assert result.output.startswith("klingel: KLINGEL_KIBANA__URL: give http:// or https://")
    assert "secret" not in result.output


def test_a_password_is_sent_as_such(kibana: Kibana) -> None:
    env = {
        "KLINGEL_KIBANA__URL": kibana.url,
        "KLINGEL_KIBANA__USERNAME": "elastic",
        "KLINGEL_KIBANA__PASSWORD": "canary",
    }
    result = CliRunner().invoke(main, ["kibana", "apply"], env=env)
    assert result.exit_code == 2  # the stand-in wants the key
    assert kibana.requests[0][1]["Authorization"] == "Basic ZWxhc3RpYzpjYW5hcnk="
    assert "canary" not in result.output


def test_a_name_that_would_leave_the_path_is_refused(apply: Apply, kibana: Kibana) -> None:
    assert apply("--space", "../default").exit_code == 2
    assert kibana.requests == []


def test_what_is_shown_is_what_is_applied(kibana: Kibana, apply: Apply) -> None:
    apply()
    shown = CliRunner().invoke(main, ["kibana", "show"]).output
    assert [json.loads(line) for line in shown.splitlines()] == [*kibana.objects.values()]
