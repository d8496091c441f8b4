"""Meta's data deletion callback and its status page; pure.

Source: developers.facebook.com, "Data Deletion Request Callback". Somebody removes the app and asks
for his data to be deleted: Meta posts `signed_request=<signature>.<payload>` (base64url without
padding, HMAC-SHA256 of the payload's text under the app secret) and expects
`{"url": …, "confirmation_code": …}`, the address being a page where the person sees what became of
it. `deauthorize` is the same signed request when the app is removed without that wish.

The request becomes one object of `facebook`, kind `unknown`, `deletion/<code>`: durable before the
answer goes out. Its draft names the person as author and demands the erasure, which understand
begins; removing the app without that wish demands nothing. The code tells nothing of the person: a
keyed hash of id and time, with the time in clear, so that the status page needs no memory. What
became of the deletion the page does not know, and so does not claim.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b, sha256
from html import escape
from typing import Final
from urllib.parse import parse_qs

import msgspec

from klingel.domain.draft import SocialDraft
from klingel.errors import ErrorType, InvalidMessage
from klingel.model.social_event import Author
from klingel_networks.bounds import READ_ERRORS
from klingel_networks.contract import Answer, Call, Delivery, Identity, NativeObject, Refused
from klingel_networks.meta.fields import Id, Part, Time, decode, milliseconds, moment, native_id

DELETION: Final = "deletion"
"""Value of `via` in the context of a deletion request."""
WITHIN: Final = timedelta(hours=24)
"""By then what klingel keeps of the person is gone (design section 9)."""

_REQUEST_MAX = 8192
_CODE_TIME = 8
_CODE_LENGTH = 32


class _Signed(Part, frozen=True, gc=False):
    user_id: Id | None = None
    algorithm: str | None = None
    issued_at: Time | None = None


class Request(Part, frozen=True, gc=False):
    """A verified request, as it is published: who, when, which of the two callbacks."""

    user_id: str
    requested_at: int
    code: str
    reason: str


_SIGNED = msgspec.json.Decoder(_Signed)
_REQUEST = msgspec.json.Decoder(Request)


def read_signed_request(form: bytes, keys: Sequence[bytes]) -> tuple[str, int | None]:
    """Return who asked, and when in epoch milliseconds (None where Meta does not say).

    Args:
        form: the body, `application/x-www-form-urlencoded`.
        keys: app secrets, any of which may have signed.

    Raises:
        InvalidMessage: no signed request, another algorithm, a signature of nobody, no user id.
    """
    signed = _signed_request(form)
    signature, _, payload = signed.partition(".")
    given = _base64url(signature)
    good = False
    for key in keys:
        good |= hmac.compare_digest(hmac.new(key, payload.encode(), sha256).digest(), given)
    if not good:
        raise _refused("the request's signature is missing or wrong")
    try:
        told = _SIGNED.decode(_base64url(payload))
    except READ_ERRORS:
        raise _refused("the signed request holds no JSON object") from None
    if told.algorithm is not None and told.algorithm.upper() != "HMAC-SHA256":
        raise _refused("the request is signed by another algorithm than HMAC-SHA256")
    issued = None if told.issued_at is None else milliseconds(told.issued_at, "issued_at")
    return native_id(told.user_id, "user_id"), issued


def _signed_request(form: bytes) -> str:
    if len(form) > _REQUEST_MAX:
        raise _refused("the signed request is too long")
    try:
        fields = parse_qs(form.decode("ascii"), max_num_fields=20)
    except ValueError:
        raise _refused("the body is no form") from None
    return fields.get("signed_request", [""])[0]


def _base64url(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _refused(sentence: str) -> InvalidMessage:
    return InvalidMessage(ErrorType.INVALID_FIELD, sentence, path="signed_request")


def confirmation_code(user_id: str, at: datetime, key: bytes) -> str:
    """Return the code of a request: its hour's second in hex, then a keyed hash.

    The same request, repeated within its second, has the same code.

    Args:
        user_id: of the person.
        at: aware; when it was asked.
        key: an app secret.
    """
    seconds = f"{int(at.timestamp()):0{_CODE_TIME}x}"
    found = blake2b(f"{seconds}.{user_id}".encode(), key=_mac_key(key), digest_size=8)
    return seconds + found.hexdigest() + _seal(seconds + found.hexdigest(), key)


def _mac_key(key: bytes) -> bytes:
    return sha256(b"klingel deletion " + key).digest()


def _seal(opening: str, key: bytes) -> str:
    """Return what proves that we gave a code; without it the page would confirm anything."""
    return blake2b(opening.encode(), key=_mac_key(key), digest_size=4, person=b"seal").hexdigest()


def deletion(call: Call) -> Answer:
    """Answer the data deletion callback, and under `<code>` its status page."""
    return _answered(call, "deletion")


def deauthorize(call: Call) -> Answer:
    """Answer the deauthorise callback, and under `<code>` its status page."""
    return _answered(call, "deauthorize")


def _answered(call: Call, reason: str) -> Answer:
    if call.method == "GET":
        return _status_page(call)
    if call.rest:
        return _error(404, "there is nothing here")
    try:
        user_id, issued = read_signed_request(call.body, tuple(call.keys))
    except InvalidMessage as error:
        return _error(400, str(error))
    at = call.now if issued is None else moment(issued)
    code = confirmation_code(user_id, at, call.keys[0])
    request = Request(user_id, int(at.timestamp() * 1000), code, reason)
    answer = {"url": f"{call.base}/{code}", "confirmation_code": code}
    return Answer(
        200,
        msgspec.json.encode(answer),
        delivery=Delivery(msgspec.json.encode(request), {"via": DELETION}),
    )


def _error(status: int, sentence: str) -> Answer:
    return Answer(status, msgspec.json.encode({"error": sentence}))


def _status_page(call: Call) -> Answer:
    code = call.rest
    opening, seal = code[: -2 * 4], code[-2 * 4 :]
    known = False
    for key in call.keys:
        known |= hmac.compare_digest(_seal(opening, key).encode(), seal.encode("utf-8", "replace"))
    if len(code) != _CODE_LENGTH or not known:
        return _page(404, "No request has this code.")
    asked = datetime.fromtimestamp(int(opening[:_CODE_TIME], 16), UTC)
    due = asked + WITHIN
    told = f"Your request {code} was received on {_said(asked)}. "
    if call.now < due:
        told += f"What is stored about you is to be deleted by {_said(due)}."
    else:
        told += (
            f"What was stored about you was to be deleted by {_said(due)}. If you find anything "
            "that is left, write to the operator of this service and name the code."
        )
    return _page(200, told)


def _said(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")


def _page(status: int, sentence: str) -> Answer:
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Deletion of your data</title>'
        f"<p>{escape(sentence)}</p></html>"
    )
    return Answer(status, page.encode(), "text/html")


def explode_deletion(delivery: Delivery) -> list[NativeObject | Refused]:
    """Return the one request of a delivery that a callback made; raises InvalidMessage."""
    decode(_REQUEST, delivery.body)
    return [NativeObject(delivery.body, {"via": DELETION})]


def identify_deletion(native: bytes | msgspec.Raw) -> Identity:
    """Return the identity of a request; raises InvalidMessage."""
    request = decode(_REQUEST, native)
    code = native_id(request.code, "code")
    return Identity(f"facebook:network:deletion/{code}", 0, "unknown", "created")


def draft_deletion(mapping: str, native: bytes | msgspec.Raw) -> SocialDraft:
    """Return the draft of a request: its author is the person whose data go; raises InvalidMessage."""
    request = decode(_REQUEST, native)
    return SocialDraft(
        mapping=mapping,
        kind="unknown",
        change="created",
        visibility="private",
        published_at=moment(milliseconds(request.requested_at, "requested_at")),
        author=Author(id=native_id(request.user_id, "user_id")),
        erases=request.reason == DELETION,
    )
