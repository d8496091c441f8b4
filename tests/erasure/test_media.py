"""Media of erased posts leave the folder and the bucket, unless another post shows them."""

import asyncio
import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from klingel.contracts.blobs import BlobStore
from klingel_cli.commands import erase
from klingel_cli.erasing import Reach
from klingel_cli.shell import Shell

ALONE, SHARED, OF_BUCKET = (
    hashlib.sha256(each).hexdigest() for each in (b"alone", b"shared", b"of the bucket")
)
FOUND = Reach({"x:s:1": ("post", None)}, frozenset(), frozenset({ALONE, SHARED, OF_BUCKET, "../x"}))


class Bucket(ThreadingHTTPServer):
    """Holds objects by their paths; who asks has to sign."""

    def __init__(self, *held: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.held = {f"/bucket/media/{each[:2]}/{each}": b"" for each in held}


class _Answers(BaseHTTPRequestHandler):
    server: Bucket
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        """Tell whether it is there."""
        signed = "AWS4-HMAC-SHA256 Credential=reader/" in self.headers.get("authorization", "")
        there = self.path in self.server.held
        self._say((200 if there else 404) if signed else 403)

    def do_GET(self) -> None:
        """Give it."""
        content = self.server.held.get(self.path)
        self._say(404 if content is None else 200, content or b"")

    def do_PUT(self) -> None:
        """Take it."""
        self.server.held[self.path] = self.rfile.read(int(self.headers["content-length"]))
        self._say(200)

    def do_DELETE(self) -> None:
        """Remove it."""
        self.server.held.pop(self.path, None)
        self._say(204)

    def _say(self, status: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket(ALONE, SHARED, OF_BUCKET) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_what_nothing_else_shows_goes_from_folder_and_bucket(bucket, tmp_path, monkeypatch):
    blobs = BlobStore(tmp_path)
    for content in (b"alone", b"shared"):
        blobs.put(content)
    monkeypatch.setenv("KLINGEL_BLOBS__DIR", str(tmp_path))
    monkeypatch.setenv("KLINGEL_MEDIA_S3_ENDPOINT", f"http://127.0.0.1:{bucket.server_port}")
    monkeypatch.setenv("KLINGEL_MEDIA_S3_BUCKET", "bucket")
    monkeypatch.setenv("KLINGEL_MEDIA_S3_ACCESS_KEY", "reader")
    monkeypatch.setenv("KLINGEL_MEDIA_S3_SECRET_KEY", "canary")

    async def others_hold(_client: object, _prefix: str, media: str, objects: list[str]) -> bool:
        assert objects == ["x:s:1"]
        return media == SHARED

    monkeypatch.setattr(erase.erasing, "others_hold", others_hold)
    monkeypatch.setattr(erase, "ask", lambda _where, question: asyncio.run(question(None)))
    assert erase._forget_media(Shell(), FOUND) == 2
    assert set(bucket.held) == {f"/bucket/media/{SHARED[:2]}/{SHARED}"}
    assert {each.name for each in tmp_path.glob("??/*")} == {SHARED}
