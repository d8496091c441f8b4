"""What a network owes klingel: three pure functions and a manifest.

`explode` cuts one delivery into its native objects, `identify` names each, `to_social_event` says
in klingel's words what it is. All are pure; a `client.py` beside them does the talking (what it
owes the runner stands in `arrival.py`).

What rings by itself comes through the gateway and is a `Family`: one or more networks behind one
webhook endpoint, with the signature and the handshake that its sender uses. A family is registered
under the entry points `klingel.families`; a network that rings alone is a family of one:

    FAMILY = Family.of(NETWORK, Endpoint(signature="telegram"))

Keys of a context that mean something to the runtime: `source`, the authenticated sender of generic
events; `channel`, the own account, page, inbox or bot that an object came through: where a piece's
context has it, it becomes the channel of its raw event, else the connector's own; `mode`, with the value
`backfill`: the network told it as history, whatever way it came, so it opens nothing.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from klingel.domain.draft import Change, Kind, SocialDraft
from klingel.errors import InvalidMessage
from klingel.model import RawEvent


@dataclass(frozen=True, slots=True)
class Delivery:
    """What arrived in one piece: a request's body, a stream's frame, a line of a file.

    Attributes:
        body: the bytes as received.
        context: what mapping needs beside the body, such as the authenticated `source`.
    """

    body: bytes
    context: Mapping[str, str] = field(default_factory=dict)


class NativeObject(NamedTuple):
    """One object of a delivery: its own bytes and the context it needs."""

    native: bytes
    context: Mapping[str, str]


class Refused(NamedTuple):
    """A piece of a delivery that is no valid object: its bytes and why."""

    native: bytes
    error: InvalidMessage


class Identity(NamedTuple):
    """Which thing, at which revision, of which kind, and what happened to it."""

    object_id: str
    revision: int
    kind: Kind
    change: Change


@dataclass(frozen=True, slots=True)
class Network:
    """One network's pure half.

    Attributes:
        name: folder, entry point and metric label.
        explode: delivery to objects; n objects in, n out, each valid or refused (K4). Raises
            InvalidMessage when the delivery as a whole cannot be read.
        identify: native bytes and context to identity; the same for the same input (K3). Raises
            InvalidMessage.
        to_social_event: raw event (its `native` bytes at hand) to draft. Raises InvalidMessage.
        reply_policy: what the network's rule says of a program's reply to a draft, given the brand's
            own accounts: a word of the network's closed set, at most 120 characters. None where
            there is no such rule.
        native: `json` when every native object is one JSON value; `bytes` when it is anything else
            (a mail, XML). JSON travels inside the raw event; bytes always lie in the blob store,
            whatever their size, and the mapping still finds them as `bytes(raw.native)`.
        media_by_id: whether a medium can be had by its id, without an address; its client then offers
            `addresses`, and the media worker asks it.
    """

    name: str
    explode: Callable[[Delivery], list[NativeObject | Refused]]
    identify: Callable[[bytes, Mapping[str, str]], Identity]
    to_social_event: Callable[[RawEvent], SocialDraft]
    native: Literal["json", "bytes"] = "json"
    reply_policy: Callable[[SocialDraft, Collection[str]], str | None] | None = None
    media_by_id: bool = False


Signature = Literal["meta", "x", "telegram", "websub"]
"""How a sender proves itself; each is checked over the raw body, in constant time, fail closed.

- `meta`: `X-Hub-Signature-256: sha256=<hex>`, HMAC-SHA256 under the app secret.
- `x`: `x-twitter-webhooks-signature-oauth2: sha256=<base64>`, HMAC-SHA256 under the OAuth 2.0 client
  secret, or `x-twitter-webhooks-signature`, the same under the consumer secret.
- `telegram`: `X-Telegram-Bot-Api-Secret-Token` is the secret itself.
- `websub`: `X-Hub-Signature: <sha1|sha256|sha384|sha512>=<hex>` under a secret of the subscription.
"""

Handshake = Literal["none", "meta", "x", "websub"]
"""What a GET of the endpoint answers.

- `meta`: `hub.mode=subscribe` with our `hub.verify_token` gets its `hub.challenge` back.
- `x`: `crc_token` gets `{"response_token": "sha256=<base64 HMAC>"}`.
- `websub`: `hub.challenge` is given back when `hub.topic` is the one that the address was made for.
"""


class Charge(NamedTuple):
    """What a network charges for in a delivery.

    Attributes:
        item: what is counted, of the network's closed set.
        units: in the unit of the manifest's cost.
        once: what is charged once a UTC day, however often it comes; empty: each time.
    """

    item: str
    units: float
    once: str = ""


class Replayed(NamedTuple):
    """How a replay of deliveries ended.

    Attributes:
        job: the network's id of it.
        state: the network's word for its end.
    """

    job: str
    state: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a family rings at the gateway.

    Attributes:
        signature: how a delivery is proved.
        handshake: what a GET answers.
        limit_bytes: a larger delivery is refused with 413; Meta's batches stay below 3 MB.
    """

    signature: Signature
    handshake: Handshake = "none"
    limit_bytes: int = 4 << 20


class Answer(NamedTuple):
    """What a callback answers, and what must be durable before it does.

    Attributes:
        status: of HTTP; other than 2xx, nothing is stored.
        body: as sent.
        content_type: of the body.
        delivery: exploded by the family and stored before the answer goes out; None for none.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    delivery: Delivery | None = None


class Call(NamedTuple):
    """A request at a family's side door, as the gateway read it.

    Attributes:
        method: GET or POST.
        rest: what follows the callback's name in the path; "" for nothing.
        query: of the address; of a name given twice the first.
        body: as received, within the endpoint's limit.
        keys: the family's secrets, newest first.
        base: public address of this callback, without a slash at its end.
        now: aware UTC.
    """

    method: str
    rest: str
    query: Mapping[str, str]
    body: bytes
    keys: Sequence[bytes]
    base: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Family:
    """Networks that share one webhook endpoint of the gateway.

    The gateway serves `GET` and `POST /hook/<name>` and, for one of several accounts with secrets of
    their own, `/hook/<name>/<channel>`; there each delivery's context holds `channel`. What is
    validly signed is answered 2xx once every object of it is durable, as raw event or as dead
    letter: a body that cannot be read, too.

    Attributes:
        name: of the entry point and in the address.
        networks: names of the members.
        endpoint: signature, handshake, bound.
        explode: delivery to (member, object): n objects in, n out (K4). An object that no member
            knows goes to the member it most likely is of, as kind `unknown`; only what is no valid
            object is Refused. Raises InvalidMessage when the delivery as a whole cannot be read.
        hashes: whether ids of members are hashes under the gateway's key, which each delivery's
            context then holds as `hash_key`; without it the gateway does not start.
        callbacks: side doors by name, served under `/hook/<name>/-/<callback>[/<rest>]`, such as
            Meta's `deletion`: pure, each proves its caller itself.
        charges: what a signed delivery costs: pure, nothing for what it cannot read. None where the
            network charges nothing for what it delivers.
        unit: of these charges.
        replayed: what a delivery tells of the end of a replay that was asked for: pure, None for
            every other. None where the network replays nothing.
    """

    name: str
    networks: tuple[str, ...]
    endpoint: Endpoint
    explode: Callable[[Delivery], list[tuple[str, NativeObject | Refused]]]
    callbacks: Mapping[str, Callable[[Call], Answer]] = field(default_factory=dict)
    hashes: bool = False
    charges: Callable[[Delivery], Sequence[Charge]] | None = None
    unit: str = ""
    replayed: Callable[[Delivery], Replayed | None] | None = None

    @classmethod
    def of(cls, network: Network, endpoint: Endpoint) -> "Family":
        """Return the family of one network that rings alone."""
        return cls(
            name=network.name,
            networks=(network.name,),
            endpoint=endpoint,
            explode=lambda delivery: [(network.name, each) for each in network.explode(delivery)],
        )
