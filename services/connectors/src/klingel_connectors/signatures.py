"""Standard Webhooks signatures: pure.

Source: standard-webhooks specification 1.0. The signed content is `<id>.<timestamp>.<body>` over the
body's raw bytes, HMAC-SHA256, base64; the header holds `v1,<signature>`, several separated by blanks.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256

REPLAY_WINDOW_SECONDS = 300
"""How far a delivery's timestamp may be from now, in either direction."""

_DIGITS = re.compile(r"[0-9]{1,12}")
_MESSAGE_ID_LENGTH = 512
_MOST_SIGNATURES = 16


def verified(
    headers: Mapping[str, str], body: bytes, keys: Sequence[bytes], now_seconds: float
) -> bool:
    """Whether one of the signatures was made with one of the keys, within the replay window.

    Every signature is compared with every key in constant time; headers that are missing or
    malformed fail closed.
    """
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not 0 < len(message_id) <= _MESSAGE_ID_LENGTH or not _DIGITS.fullmatch(timestamp):
        return False
    if abs(now_seconds - int(timestamp)) > REPLAY_WINDOW_SECONDS:
        return False
    given = _given(headers.get("webhook-signature", ""))
    content = message_id.encode("utf-8", "surrogateescape") + b"." + timestamp.encode() + b"."
    good = False
    for key in keys:
        mac = hmac.new(key, content, sha256)
        mac.update(body)
        digest = mac.digest()
        for signature in given:
            good |= hmac.compare_digest(digest, signature)
    return good


def _given(header: str) -> list[bytes]:
    signatures = []
    for part in header.split(" ")[:_MOST_SIGNATURES]:
        version, _, encoded = part.partition(",")
        if version != "v1":
            continue
        try:
            signatures.append(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError):
            continue
    return signatures
