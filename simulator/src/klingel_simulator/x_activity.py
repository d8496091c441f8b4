"""X's webhook sender: activity events with signature, and the challenge; shell.

Source: `x-api/webhooks/{introduction,quickstart}`, `x-api/activity/event-payloads`.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import aiohttp

SIGNATURE = "x-twitter-webhooks-signature"
ANSWER_SECONDS = 10.0
"""A webhook must have answered by then."""


def event(
    event_type: str, payload: Mapping[str, Any], *, user_id: str, uuid: int, **more: Any
) -> bytes:
    """Return an activity event as X sends it; `more` goes into `data`, such as `includes`."""
    data = {
        "event_uuid": str(uuid),
        "filter": {"user_id": user_id},
        "event_type": event_type,
        "tag": event_type.replace(".", "-"),
        "payload": payload,
    }
    return json.dumps({"data": data | more}, separators=(",", ":")).encode()


def direct_message(message_id: str, sender: str, recipient: str, text: str, at_ms: int) -> Any:
    """Return the payload of `dm.received` with one message."""
    message = {
        "type": "message_create",
        "id": message_id,
        "created_timestamp": str(at_ms),
        "message_create": {
            "target": {"recipient_id": recipient},
            "sender_id": sender,
            "message_data": {
                "text": text,
                "entities": {"hashtags": [], "symbols": [], "user_mentions": [], "urls": []},
            },
        },
    }
    users = {
        each: {"data": {"id": each, "username": f"u{each[:8]}"}} for each in (sender, recipient)
    }
    return {"direct_message_events": [message], "users": users}


def signed(secret: bytes, body: bytes) -> str:
    """Return the signature of a body: `sha256=` and the HMAC in base64."""
    return "sha256=" + base64.b64encode(hmac.digest(secret, body, hashlib.sha256)).decode()


class Webhook:
    """A registered address.

    Args:
        url: where it rings.
        secret: client or consumer secret of the app.

    Attributes:
        valid: whether the last challenge was answered rightly.
        tried: what was delivered or could not be, and when.
    """

    def __init__(self, url: str, secret: bytes) -> None:
        self._url = url
        self._secret = secret
        self.valid = False
        self.tried: list[tuple[datetime, bytes]] = []

    async def challenge(self, session: aiohttp.ClientSession, token: str) -> bool:
        """Ask for the answer to a CRC token; what is wrong makes the webhook invalid."""
        async with session.get(self._url, params={"crc_token": token}) as response:
            body = await response.read()
        self.valid = False
        if response.status // 100 == 2:
            try:
                given = json.loads(body)["response_token"]
            except (ValueError, KeyError, TypeError):
                given = None
            self.valid = given == signed(self._secret, token.encode())
        return self.valid

    async def ring(
        self,
        session: aiohttp.ClientSession,
        body: bytes,
        *,
        signature: str | None = None,
    ) -> int:
        """Deliver a body; return the status. `signature` is sent instead of the right one.

        Raises:
            aiohttp.ClientError, TimeoutError: nobody is there. X does not deliver it again.
        """
        given = signed(self._secret, body) if signature is None else signature
        headers = {"Content-Type": "application/json"} | ({SIGNATURE: given} if given else {})
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with session.post(self._url, data=body, headers=headers, timeout=timeout) as response:
            await response.read()
            return response.status

    async def deliver(self, session: aiohttp.ClientSession, body: bytes, at: datetime) -> int:
        """Deliver a body and remember it for a replay; 0 where nobody is there."""
        self.tried.append((at, body))
        return await self._try(session, body)

    async def replay(
        self, session: aiohttp.ClientSession, begin: datetime, end: datetime, told: bytes
    ) -> None:
        """Deliver again what was tried between two times, then what tells how that went."""
        for at, body in self.tried:
            if begin <= at < end:
                again = json.loads(body) | {"meta": {"replay": True}}
                await self._try(session, json.dumps(again, separators=(",", ":")).encode())
        if told:
            await self._try(session, told)

    async def _try(self, session: aiohttp.ClientSession, body: bytes) -> int:
        try:
            return await self.ring(session, body)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0


def job_status(webhook_id: str, job_id: str, state: str) -> bytes:
    """Return what X rings when a replay has ended; nothing for no state."""
    status = {
        "webhook_id": webhook_id,
        "job_state": state,
        "job_state_description": "Job completed successfully" if state == "Complete" else "x",
        "job_id": job_id,
    }
    return json.dumps({"replay_job_status": status}).encode() if state else b""
