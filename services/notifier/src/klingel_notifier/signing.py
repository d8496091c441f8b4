"""Signatures of webhooks after Standard Webhooks 1.0 (symmetric, `v1`).

Source: the specification's section "Signature scheme": HMAC-SHA256 over id, timestamp and body,
joined by full stops; the secret is `whsec_` and base64.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from hashlib import sha256

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of every secret, no secret
_LEAST_BYTES = 24
_MOST_BYTES = 64


def secret_of(text: str) -> bytes:
    """Return the key that a secret stands for.

    Raises:
        ValueError: it is none; the sentence does not repeat it.
    """
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("write whsec_ and the base64 of 24 to 64 random bytes") from None
    if not text.startswith(SECRET_PREFIX) or not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise ValueError("write whsec_ and the base64 of 24 to 64 random bytes")
    return key


def signed_headers(key: bytes, message_id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    """Return the three headers of a webhook.

    Args:
        key: of `secret_of`.
        message_id: the same for every attempt.
        timestamp: of this attempt, in seconds since 1970.
        body: exactly as it is sent.
    """
    content = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, content, sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
