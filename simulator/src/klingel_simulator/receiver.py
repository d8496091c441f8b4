"""Whoever is told: one HTTP server for chats and webhooks, one SMTP server for mail.

What comes is written to standard output as one line of JSON, and kept (the newest `KEPT`) for
`GET /control/received`. It answers as real receivers do: 200 to what is well formed.
"""

import asyncio
import json
import sys
from collections import Counter, deque
from collections.abc import Mapping
from email import message_from_bytes
from email.policy import default as modern
from hashlib import blake2b
from typing import IO, Any

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

KEPT = 1_000
_LARGEST = 1 << 20
_TITLE = 200


class Receiver:
    """What was received.

    Args:
        out: where each is told.
    """

    def __init__(self, out: IO[str] = sys.stdout) -> None:
        self._out = out
        self.received: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.counted: Counter[str] = Counter()

    def take(self, way: str, where: str, key: str | None, title: str, body: bytes) -> None:
        """Note something that came.

        Args:
            way: `http` or `mail`.
            where: path or address.
            key: what the sender says makes a repeat known.
            title: its first words.
            body: all of it; told by its digest.
        """
        digest = blake2b(body, digest_size=8).hexdigest()
        told = {"way": way, "where": where, "key": key, "title": title[:_TITLE], "body": digest}
        self.received.append(told)
        self.counted[where] += 1
        self._out.write(json.dumps(told, ensure_ascii=False) + "\n")
        self._out.flush()

    def app(self) -> web.Application:
        """Return the HTTP server's application."""
        app = web.Application(client_max_size=_LARGEST)
        app.router.add_get("/control/status", self._status)
        app.router.add_get("/control/received", self._list)
        app.router.add_post("/{where:.+}", self._post)
        return app

    async def _status(self, _request: web.Request) -> web.Response:
        return web.json_response({"received": dict(self.counted)})

    async def _list(self, _request: web.Request) -> web.Response:
        return web.json_response(list(self.received))

    async def _post(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            content = json.loads(body)
        except ValueError:
            return web.Response(status=400, text="the body is no JSON\n")
        headers = request.headers
        key = headers.get("webhook-id") or headers.get("Idempotency-Key")
        self.take("http", request.match_info["where"], key, _title(content), body)
        return web.Response(text="ok")

    async def handle_DATA(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Take a mail (aiosmtpd's handler)."""
        content = envelope.content
        data = content if isinstance(content, bytes) else (content or "").encode()
        mail = message_from_bytes(data, policy=modern)
        for address in envelope.rcpt_tos:
            self.take("mail", str(address), mail["Message-ID"], str(mail["Subject"] or ""), data)
        return "250 OK"


def _title(content: object) -> str:
    """Return the first words of what was sent, whatever its form."""
    if isinstance(content, list) and content:
        content = content[0]
    if isinstance(content, Mapping):
        for name in ("text", "title", "summary", "sentence"):
            if isinstance(content.get(name), str):
                return str(content[name]).partition("\n")[0]
        for part in content.values():
            if isinstance(part, Mapping):
                return _title(part)
    return ""


async def mail_server(receiver: Receiver, host: str, port: int) -> asyncio.Server:
    """Open the SMTP server in the running loop."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: SMTP(receiver, loop=loop), host, port)
