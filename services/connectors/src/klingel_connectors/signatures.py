"""Who sent a delivery, and what a handshake gets: pure, over raw bytes, constant time, fail closed.

Sources: standard-webhooks specification 1.0; Meta, Webhooks, "Getting Started" (Validating Payloads,
Verification Requests); X, Account Activity API, "Securing webhooks"; Telegram, Bot API, `setWebhook`;
W3C Recommendation WebSub 2018, sections 5.3 and 8.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec

from klingel_networks.contract import Handshake, Signature
from klingel_networks.websub import subscription_id, subscription_secret

REPLAY_WINDOW_SECONDS = 300
"""How far a delivery's timestamp may be from now, in either direction."""

_DIGITS = re.compile(r"[0-9]{1,12}")
_MESSAGE_ID_LENGTH = 512
_MOST_SIGNATURES = 16
_CHALLENGE_LENGTH = 2048
_WEBSUB_HASHES = frozenset({"sha1", "sha256", "sha384", "sha512"})
_LINK = re.compile(
    r"<([^<>]{1,4096})>((?:\s*;\s*[a-z*]{1,40}\s*=\s*(?:\"[^\"]{0,300}\"|[^\",;\s]{0,300}))*)"
)
_REL = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\",;\s]*))")


def verified(
    headers: Mapping[str, str], body: bytes, keys: Sequence[bytes], now_seconds: float
) -> bool:
    """Whether one of the Standard Webhooks signatures was made with one of the keys, in the window.

    The signed content is `<id>.<timestamp>.<body>`, HMAC-SHA256, base64; the header holds
    `v1,<signature>`, several separated by blanks. Every signature is compared with every key;
    headers that are missing or malformed fail closed.
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


# --- the networks' own schemes -----------------------------------------------------------------


def proved(
    signature: Signature,
    headers: Mapping[str, str],
    body: bytes,
    keys: Sequence[bytes],
    subscription: str = "",
) -> bool:
    """Whether a delivery was signed with one of the keys, by the sender's scheme.

    Args:
        signature: scheme.
        headers: of the request, names in any case as the mapping has it.
        body: as received.
        keys: secrets, newest first; each is tried.
        subscription: last part of the address; WebSub's secret depends on it.
    """
    return _SCHEMES[signature](headers, body, keys, subscription)


def _by_meta(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes], _: str) -> bool:
    scheme, _, given = headers.get("X-Hub-Signature-256", "").partition("=")
    return scheme == "sha256" and _same(
        given, (hmac.digest(key, body, sha256).hex() for key in keys)
    )


def _by_x(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes], _: str) -> bool:
    wanted = [_base64(hmac.digest(key, body, sha256)) for key in keys]
    good = False
    # Either is enough: which secrets we were given decides which of them we can check.
    for name in ("x-twitter-webhooks-signature-oauth2", "x-twitter-webhooks-signature"):
        scheme, _, given = headers.get(name, "").partition("=")
        good |= scheme == "sha256" and _same(given, wanted)
    return good


def _by_telegram(headers: Mapping[str, str], _: bytes, keys: Sequence[bytes], __: str) -> bool:
    given = headers.get("X-Telegram-Bot-Api-Secret-Token", "").encode("utf-8", "surrogateescape")
    good = False
    for key in keys:
        good |= hmac.compare_digest(key, given)
    return good


def _by_websub(
    headers: Mapping[str, str], body: bytes, keys: Sequence[bytes], subscription: str
) -> bool:
    method, _, given = headers.get("X-Hub-Signature", "").partition("=")
    if method not in _WEBSUB_HASHES:
        return False
    secrets = (subscription_secret(key, subscription).encode() for key in keys)
    return _same(given, (hmac.digest(secret, body, method).hex() for secret in secrets))


def _same(given: str, wanted: Iterable[str]) -> bool:
    text = given.encode("utf-8", "surrogateescape")
    good = False
    for each in wanted:
        good |= hmac.compare_digest(each.encode(), text)
    return good


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


_SCHEMES: dict[Signature, Callable[[Mapping[str, str], bytes, Sequence[bytes], str], bool]] = {
    "meta": _by_meta,
    "x": _by_x,
    "telegram": _by_telegram,
    "websub": _by_websub,
}


class Shaken(NamedTuple):
    """What a handshake gets; `body` is sent as `content_type`."""

    status: int
    body: bytes
    content_type: str = "text/plain"


REFUSED = Shaken(403, b"")


def shake(
    handshake: Handshake,
    query: Mapping[str, str],
    keys: Sequence[bytes],
    verify_token: bytes,
    subscription: str = "",
) -> Shaken:
    """Return the answer to a handshake; 403 without a word for what is none of ours.

    Args:
        handshake: kind.
        query: of the address.
        keys: secrets, newest first.
        verify_token: Meta's, chosen by us; empty refuses every one.
        subscription: last part of the address, for WebSub.
    """
    if handshake == "x":
        return _crc(query.get("crc_token", ""), keys)
    challenge = query.get("hub.challenge", "")
    if handshake == "none" or not challenge or len(challenge) > _CHALLENGE_LENGTH:
        return REFUSED
    if handshake == "meta":
        given = query.get("hub.verify_token", "").encode("utf-8", "surrogatepass")
        good = bool(verify_token) and hmac.compare_digest(given, verify_token)
        good &= query.get("hub.mode") == "subscribe"
    else:
        topic = query.get("hub.topic", "")
        good = query.get("hub.mode") in {"subscribe", "unsubscribe"} and _belongs(
            subscription, topic, keys
        )
    return Shaken(200, challenge.encode("utf-8", "surrogatepass")) if good else REFUSED


def _crc(token: str, keys: Sequence[bytes]) -> Shaken:
    if not token or not keys or len(token) > _CHALLENGE_LENGTH:
        return REFUSED
    digest = hmac.digest(keys[0], token.encode("utf-8", "surrogatepass"), hashlib.sha256)
    answer = {"response_token": f"sha256={_base64(digest)}"}
    return Shaken(200, msgspec.json.encode(answer), "application/json")


def _belongs(subscription: str, topic: str, keys: Sequence[bytes]) -> bool:
    given = subscription.encode("utf-8", "surrogatepass")
    good = False
    for key in keys:
        good |= hmac.compare_digest(subscription_id(key, topic).encode(), given)
    return good


def websub_topic(link: str, subscription: str, keys: Sequence[bytes]) -> str:
    """Return the address in a `Link` header's `rel=self`, when the subscription is of it; else ""."""
    for target, parameters in _LINK.findall(link[:16_384]):
        relation = _REL.search(parameters)
        named = "" if relation is None else relation[1] or relation[2]
        if "self" in named.lower().split() and _belongs(subscription, target, keys):
            return str(target)
    return ""
