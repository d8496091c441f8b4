"""Signatures after Standard Webhooks, against the vectors that its authors publish."""

import base64
import hmac
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel_notifier.signing import secret_of, signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_published_vector():
    """Test "sign function works" of the reference libraries (standard-webhooks/libraries)."""
    headers = signed_headers(
        secret_of(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def verified(secret, headers, body):
    """Verify as the specification tells a receiver to, written apart from what signs."""
    key = base64.b64decode(secret[len("whsec_") :])
    signed = b".".join(
        [headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body]
    )
    expected = base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()
    candidates = [each.split(",", 1) for each in headers["webhook-signature"].split(" ")]
    return any(version == "v1" and found == expected for version, found in candidates)


@given(st.binary(min_size=24, max_size=64), st.integers(0, 1 << 33), st.binary(max_size=500))
def test_a_receiver_can_verify_and_a_changed_byte_shows(key, timestamp, body):
    secret = "whsec_" + base64.b64encode(key).decode()
    headers = signed_headers(secret_of(secret), "escalation_1_2", timestamp, body)
    assert verified(secret, headers, body)
    assert not verified(secret, headers, body + b" ")
    assert not verified(secret, {**headers, "webhook-timestamp": str(timestamp + 1)}, body)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        "whsec_nö base64 at all, and much too long for it",
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(text):
    with pytest.raises(ValueError, match=r"^write whsec_ and the base64 of 24 to 64 random bytes$"):
        secret_of(text)
