"""Signatures after Standard Webhooks: fail closed, raw body, replay window, rotation (K5)."""

import base64
import hashlib
import hmac

import pytest

from klingel_connectors.signatures import REPLAY_WINDOW_SECONDS, verified

KEY, OTHER = bytes(range(24)), bytes(range(24, 48))
NOW = 1_795_000_000
BODY = b'{"id": "1"}'


def signature(key=KEY, message_id="msg_1", at=NOW, body=BODY):
    content = f"{message_id}.{at}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def headers(**more):
    signed = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(NOW),
        "webhook-signature": signature(),
    }
    return signed | {name.replace("_", "-"): value for name, value in more.items()}


def test_the_example_of_the_specification_verifies():
    """Source: standard-webhooks specification, its published example."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    given = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert verified(given, b'{"test": 2432232314}', [key], 1_614_265_330)


@pytest.mark.parametrize("drift", [0, REPLAY_WINDOW_SECONDS, -REPLAY_WINDOW_SECONDS])
def test_a_good_signature_within_the_window(drift):
    assert verified(headers(), BODY, [KEY], NOW + drift)


def test_any_of_several_secrets_and_signatures_will_do():
    assert verified(headers(), BODY, [OTHER, KEY], NOW)
    several = f"v1a,xyz {signature(OTHER)} {signature()}"
    assert verified(headers(webhook_signature=several), BODY, [KEY], NOW)


@pytest.mark.parametrize(
    "given",
    [
        {},
        headers(webhook_signature=""),
        headers(webhook_signature="v1,"),
        headers(webhook_signature="v1,ä"),
        headers(webhook_signature=signature(OTHER)),
        headers(webhook_signature=signature().replace("v1,", "v2,")),
        headers(webhook_signature=signature().removeprefix("v1,")),
        headers(webhook_id="msg_2"),
        headers(webhook_id=""),
        headers(webhook_id="x" * 600),
        headers(webhook_timestamp=str(NOW + 1)),
        headers(webhook_timestamp="٣"),
        headers(webhook_timestamp="1e9"),
        headers(webhook_timestamp=""),
    ],
)
def test_everything_else_fails_closed(given):
    assert not verified(given, BODY, [KEY], NOW)


def test_another_body_or_another_time_fails():
    assert not verified(headers(), BODY + b" ", [KEY], NOW)
    assert not verified(headers(), BODY, [KEY], NOW + REPLAY_WINDOW_SECONDS + 1)
    assert not verified(headers(), BODY, [KEY], NOW - REPLAY_WINDOW_SECONDS - 1)
    assert not verified(headers(), BODY, [], NOW)
