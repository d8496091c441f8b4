"""The data deletion callback: who asks, what becomes of it, and what nobody may forge.

The scheme is that of developers.facebook.com, "Data Deletion Request Callback".
"""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from klingel.errors import InvalidMessage
from klingel_networks.contract import Call, Delivery, NativeObject
from klingel_networks.mapped import raw_event
from klingel_networks.meta import FAMILY
from klingel_networks.registry import installed

SECRET, OLD = b"the app secret of the tests", b"the secret before"
NOW = datetime(2026, 7, 4, 14, 38, 8, tzinfo=UTC)
USER = "218471"
BASE = "https://hooks.example/hook/meta/-/deletion"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed(key: bytes = SECRET, /, **told: Any) -> bytes:
    payload = encoded(json.dumps({"user_id": USER, "algorithm": "HMAC-SHA256", **told}).encode())
    signature = encoded(hmac.digest(key, payload.encode(), "sha256"))
    return urlencode({"signed_request": f"{signature}.{payload}"}).encode()


def call(body: bytes = b"", *, method: str = "POST", rest: str = "", now: datetime = NOW):
    request = Call(method, rest, {}, body, (SECRET, OLD), BASE, now)
    return FAMILY.callbacks["deletion"](request)


def test_a_request_is_answered_stored_and_names_the_person():
    answer = call(signed(issued_at=int(NOW.timestamp())))
    told = json.loads(answer.body)
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert told["url"] == f"{BASE}/{told['confirmation_code']}"
    assert USER not in told["confirmation_code"]
    ((network, piece),) = FAMILY.explode(answer.delivery)
    assert isinstance(piece, NativeObject)
    identity = installed().network(network).identify(piece.native, piece.context)
    assert identity.object_id == f"facebook:network:deletion/{told['confirmation_code']}"
    draft = installed().network(network).to_social_event(raw_event(network, piece, identity))
    assert (draft.kind, draft.author.id, draft.published_at) == ("unknown", USER, NOW)
    assert draft.erases
    assert installed().manifest(network).delivers(draft.kind, draft.change)


def test_removing_the_app_demands_nothing():
    request = Call("POST", "", {}, signed(), (SECRET, OLD), BASE, NOW)
    ((network, piece),) = FAMILY.explode(FAMILY.callbacks["deauthorize"](request).delivery)
    identity = installed().network(network).identify(piece.native, piece.context)
    draft = installed().network(network).to_social_event(raw_event(network, piece, identity))
    assert (draft.author.id, draft.erases) == (USER, False)


def test_the_same_request_again_has_the_same_code_and_another_person_another():
    first, again = call(signed(issued_at=1_783_175_888)), call(signed(issued_at=1_783_175_888))
    other = call(signed(issued_at=1_783_175_888, user_id="5"))
    assert first.body == again.body != other.body
    assert first.delivery == again.delivery


def test_the_page_tells_when_it_was_asked_and_until_when_it_is_done():
    code = json.loads(call(signed()).body)["confirmation_code"]
    page = call(method="GET", rest=code)
    assert (page.status, page.content_type) == (200, "text/html")
    assert b"2026-07-04 14:38 UTC" in page.body
    assert b"is to be deleted by 2026-07-05 14:38 UTC" in page.body
    assert (
        b"was to be deleted by" in call(method="GET", rest=code, now=NOW + timedelta(days=2)).body
    )
    assert page.delivery is None


@pytest.mark.parametrize("rest", ["", "x", "0" * 32, "f" * 31 + "é", "%3Cscript%3E"])
def test_the_page_knows_no_code_that_it_did_not_give(rest):
    page = call(method="GET", rest=rest)
    assert (page.status, page.delivery) == (404, None)
    assert rest == "" or rest.encode() not in page.body or len(rest) == 1


def test_a_code_that_was_changed_is_unknown():
    code = json.loads(call(signed()).body)["confirmation_code"]
    for at in (0, 9, 20, 31):
        forged = code[:at] + ("0" if code[at] != "0" else "1") + code[at + 1 :]
        assert call(method="GET", rest=forged).status == 404


def test_a_secret_that_was_replaced_still_proves():
    assert call(signed(OLD)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"signed_request=",
        b"signed_request=a.b",
        b"signed_request=.",
        signed(b"nobody's"),
        signed(algorithm="HMAC-MD5"),
        signed(user_id=None),
        signed(user_id=["1"]),
        signed(issued_at="soon"),
        signed(SECRET)[:-3],
        b"\xff\xfe",
        b"signed_request=" + b"a" * 9000,
        b"&" * 500,
        urlencode(
            {"signed_request": encoded(hmac.digest(SECRET, b"bm9uZQ", "sha256")) + ".bm9uZQ"}
        ).encode(),
    ],
)
def test_what_proves_nothing_is_refused_and_not_stored(body):
    answer = call(body)
    assert (answer.status, answer.delivery) == (400, None)
    assert USER not in answer.body.decode()


def test_a_delivery_of_another_shape_is_refused():
    for body in (b"{}", b"[]", b"x"):
        with pytest.raises(InvalidMessage):
            FAMILY.explode(Delivery(body, {"via": "deletion"}))
