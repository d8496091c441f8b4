"""Addresses and secrets of WebSub subscriptions, derived from one key: pure.

Gateway and feed client agree on them without a word or a table between them. The address of a
subscription is `/hook/<family>/<subscription_id>`; only the hub that we gave it to knows it.

Source: W3C Recommendation WebSub, 2018, sections 5.1, 5.3, 8.
"""

import hmac
from hashlib import sha256

ID_LENGTH = 40


def subscription_id(key: bytes, topic: str) -> str:
    """Return the name of the subscription to a topic's address: 40 hexadecimal digits."""
    return _derived(key, b"websub-id\x00", topic.encode("utf-8", "surrogatepass"))[:ID_LENGTH]


def subscription_secret(key: bytes, subscription: str) -> str:
    """Return the `hub.secret` of a subscription: 64 hexadecimal digits, below WebSub's 200 bytes."""
    return _derived(key, b"websub-secret\x00", subscription.encode("utf-8", "surrogatepass"))


def _derived(key: bytes, purpose: bytes, content: bytes) -> str:
    return hmac.new(key, purpose + content, sha256).hexdigest()
