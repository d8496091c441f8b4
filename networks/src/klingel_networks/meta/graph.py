"""The Graph API as decisions: what an error means, what headers say of limits, what a page holds.

Pure. Source: developers.facebook.com, "Graph API: Handle errors" (codes and subcodes), "Rate
limits" (X-App-Usage, X-Business-Use-Case-Usage), "Paginated results", "Debug token", "Access token
errors", "WhatsApp Cloud API: Error codes". Errors are told apart by code and subcode, never by
their sentences, which change with the language of whoever made the token.
"""

import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

import msgspec

from klingel_networks.arrival import Credential, Quota
from klingel_networks.bounds import READ_ERRORS
from klingel_networks.meta.fields import Part, Time, milliseconds, moment

CALLS = "graph"
"""Bucket of all calls of one app."""


class Trouble(StrEnum):
    """What a refused call means for whoever made it."""

    REVOKED = "revoked"
    """The token is dead: password changed, app removed, role lost. Only a person can help."""
    EXPIRED = "expired"
    """The token has run out. Only a person can help."""
    SCOPE = "scope"
    """The token lives, a permission is missing or was taken away."""
    LIMITED = "limited"
    """Too many calls."""
    AWAY = "away"
    """The network has trouble of its own; later."""
    GONE = "gone"
    """There is no such object, or not for us."""
    REQUEST = "request"
    """We asked wrongly; asking again changes nothing."""


class GraphError(Part, frozen=True, gc=False):
    """The `error` of an answer."""

    code: int | None = None
    error_subcode: int | None = None
    is_transient: bool | None = None


class _Refusal(Part, frozen=True, gc=False):
    error: GraphError | None = None


class Cursors(Part, frozen=True, gc=False):
    """Where a page lies among its neighbours."""

    after: str | None = None


class Paging(Part, frozen=True, gc=False):
    """How to go on; `next` is absent on the last page."""

    cursors: Cursors | None = None
    next: str | None = None


class Page(Part, frozen=True, gc=False):
    """One page of an edge."""

    data: list[msgspec.Raw] | None = None
    paging: Paging | None = None


class Stamp(Part, frozen=True, gc=False):
    """What of a thing tells how new it is, and how much hangs on it."""

    id: str | int | None = None
    created_time: Time | None = None
    updated_time: Time | None = None
    timestamp: Time | None = None
    comments_count: int | None = None

    @property
    def made_at(self) -> int | None:
        """Epoch milliseconds of its making."""
        return _stamp(self.created_time if self.timestamp is None else self.timestamp)

    @property
    def touched_at(self) -> int | None:
        """Epoch milliseconds of the last that happened to it."""
        return _stamp(self.updated_time) or self.made_at


def _stamp(value: Time | None) -> int | None:
    return None if value is None else milliseconds(value, "created_time")


class Granted(Part, frozen=True, gc=False):
    """A permission of a token, and what it is for; without targets for all that its owner has."""

    scope: str | None = None
    target_ids: list[str | int] | None = None


class TokenData(Part, frozen=True, gc=False):
    """What `debug_token` tells of a token."""

    app_id: str | int | None = None
    is_valid: bool | None = None
    expires_at: int | None = None
    data_access_expires_at: int | None = None
    scopes: list[str] | None = None
    granular_scopes: list[Granted] | None = None
    error: GraphError | None = None


class _Debugged(Part, frozen=True, gc=False):
    data: TokenData | None = None


class _Use(Part, frozen=True, gc=False):
    call_count: float | None = None
    total_time: float | None = None
    total_cputime: float | None = None
    estimated_time_to_regain_access: float | None = None


_REFUSAL = msgspec.json.Decoder(_Refusal)
PAGE = msgspec.json.Decoder(Page)
STAMP = msgspec.json.Decoder(Stamp)
_DEBUGGED = msgspec.json.Decoder(_Debugged)
_APP_USE = msgspec.json.Decoder(_Use)
_BUSINESS_USE = msgspec.json.Decoder(dict[str, list[_Use]])

_TOKEN = 190
_SESSION = 102
_EXPIRED = frozenset({463})
_TOKEN_SENTENCES: Mapping[int, str] = {
    458: "the person has removed the app",
    459: "the person must log in at the network and pass a check",
    460: "the person has changed the password",
    463: "the access token has expired",
    464: "the person's account is not confirmed",
    467: "the access token was made invalid",
    492: "the person has no role on the page any more",
}
_SCOPES = frozenset({3, 10, 294, *range(200, 300)})
_LIMITS = frozenset(
    {4, 17, 32, 341, 368, 613, *range(80_000, 80_015), 130_429, 131_048, 131_056, 133_016}
)
_TROUBLES = frozenset({-1, 1, 2, 131_000, 131_016, 133_004})
_OBJECT_GONE = frozenset({803, 131_009})
_PARAMETER, _NO_OBJECT = 100, 33
_SERVER_ERROR, _TOO_MANY = 500, 429


def classify(status: int, error: GraphError) -> Trouble:
    """Return what a refused call means.

    Args:
        status: of HTTP.
        error: of the body; empty where it had none.
    """
    code, subcode = error.code, error.error_subcode
    if code in {_TOKEN, _SESSION}:
        return Trouble.EXPIRED if subcode in _EXPIRED else Trouble.REVOKED
    if code in _LIMITS or (code is None and status == _TOO_MANY):
        return Trouble.LIMITED
    if code in _SCOPES:
        return Trouble.SCOPE
    if code in _OBJECT_GONE or (code == _PARAMETER and subcode == _NO_OBJECT):
        return Trouble.GONE
    if code in _TROUBLES or error.is_transient or (code is None and status >= _SERVER_ERROR):
        return Trouble.AWAY
    return Trouble.REQUEST


def sentence_of(trouble: Trouble, error: GraphError) -> str:
    """Return one sentence on a refused call; it repeats nothing that the network wrote."""
    numbers = f"code {error.code}, subcode {error.error_subcode or 0}"
    said = {
        Trouble.REVOKED: "Graph refuses the access token",
        Trouble.EXPIRED: "the access token has expired",
        Trouble.SCOPE: "a permission is missing or was taken away",
        Trouble.LIMITED: "Graph wants fewer calls",
        Trouble.AWAY: "Graph has trouble of its own",
        Trouble.GONE: "Graph has no such object",
        Trouble.REQUEST: "Graph does not understand the request",
    }[trouble]
    if trouble is Trouble.REVOKED:
        said = f"{said}: {_TOKEN_SENTENCES.get(error.error_subcode or 0, 'it is not valid')}"
    return f"{said} ({numbers})"


def remedy_of(trouble: Trouble) -> str:
    """Return what a person can do."""
    if trouble in {Trouble.REVOKED, Trouble.EXPIRED}:
        return "make a new access token of a system user and put it into the connector's secret"
    if trouble is Trouble.SCOPE:
        return "grant the permission anew and make a new access token; see the connector's table"
    return "look at the network's status page, and whether the id belongs to the token's business"


def read_error(body: bytes) -> GraphError:
    """Return the error of an answer; an empty one where the body holds none."""
    try:
        return _REFUSAL.decode(body).error or GraphError()
    except READ_ERRORS:
        return GraphError()


def quota(headers: Mapping[str, str]) -> Quota | None:
    """Return what the usage headers say, as calls left of a hundred; None where there are none.

    The fullest of all counters counts; the time until access is regained is in minutes there.
    """
    used: list[_Use] = []
    for name in ("X-App-Usage", "X-Page-Usage", "X-Ad-Account-Usage"):
        if name in headers:
            used += _app_use(headers[name])
    used += _business_use(headers.get("X-Business-Use-Case-Usage", ""))
    if not used:
        return None
    most = max(
        max(each.call_count or 0, each.total_time or 0, each.total_cputime or 0) for each in used
    )
    minutes = max((each.estimated_time_to_regain_access or 0) for each in used)
    return Quota(CALLS, max(0, 100 - int(most)), 100, minutes * 60 if minutes > 0 else None)


def _app_use(value: str) -> list[_Use]:
    try:
        return [_APP_USE.decode(value)]
    except READ_ERRORS:
        return []


def _business_use(value: str) -> list[_Use]:
    try:
        return [use for uses in _BUSINESS_USE.decode(value).values() for use in uses]
    except READ_ERRORS:
        return []


def proof(app_secret: bytes, token: str) -> str:
    """Return the `appsecret_proof` of a token."""
    return hmac.new(app_secret, token.encode(), sha256).hexdigest()


def read_token(body: bytes) -> TokenData:
    """Return what `debug_token` told; an invalid token where it told nothing."""
    try:
        return _DEBUGGED.decode(body).data or TokenData()
    except READ_ERRORS:
        return TokenData()


def credential(told: TokenData, wanted: Iterable[str]) -> Credential:
    """Return the state of a token: when it ends, and whether it is dead.

    Args:
        told: of `debug_token`.
        wanted: permissions without which the connector is deaf.
    """
    if not told.is_valid:
        error = told.error or GraphError(code=_TOKEN)
        trouble = classify(_SERVER_ERROR, error)
        return Credential(
            revoked=True, sentence=f"{sentence_of(trouble, error)}; {remedy_of(trouble)}"
        )
    missing = missing_scopes(told, wanted)
    if missing:
        return Credential(
            revoked=True,
            sentence=f"the token lacks {', '.join(missing)}; {remedy_of(Trouble.SCOPE)}",
        )
    return Credential(expires_at=_ends(told))


def missing_scopes(told: TokenData, wanted: Iterable[str]) -> list[str]:
    """Return the permissions that a token does not have."""
    return [each for each in wanted if each not in (told.scopes or ())]


def _ends(told: TokenData) -> datetime | None:
    """Return when a token ends, or the access to its data if that is sooner; 0 means never."""
    ends = [each for each in (told.expires_at, told.data_access_expires_at) if each]
    return moment(milliseconds(min(ends), "expires_at")) if ends else None


class Round(NamedTuple):
    """One reconciliation of an account.

    Attributes:
        since: epoch milliseconds; what is older was seen.
        until: epoch milliseconds of the round's beginning: the next cursor.
        first: whether this is the first round: then it is history.
    """

    since: int
    until: int
    first: bool


OVERLAP_MS = 3_600_000
"""How far before the last round a round begins: the network shows some things late."""
DAY_MS = 86_400_000


def begin(cursor: str | None, now: datetime, back_days: int) -> Round:
    """Return what a round has to read.

    Args:
        cursor: epoch milliseconds, as the last round left it; None for the first. One that is not
            ours counts as none: history is read again, which changes nothing.
        now: aware.
        back_days: how far the first one reaches back.
    """
    until = int(now.timestamp() * 1000)
    if cursor is None or not (cursor.isascii() and cursor.isdecimal()):
        return Round(max(0, until - back_days * DAY_MS), until, first=True)
    return Round(max(0, min(int(cursor), until) - OVERLAP_MS), until, first=False)
