"""What a network owes klingel: three pure functions and a manifest.

`explode` cuts one delivery into its native objects, `identify` names each, `to_social_event` says
in klingel's words what it is. All are pure; a `client.py` beside them does the talking.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

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
    """

    name: str
    explode: Callable[[Delivery], list[NativeObject | Refused]]
    identify: Callable[[bytes, Mapping[str, str]], Identity]
    to_social_event: Callable[[RawEvent], SocialDraft]
