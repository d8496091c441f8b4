"""What rings in its network's own way: a family's endpoint, its readings and its refusals; no socket.

An endpoint answers 2xx to whatever is validly signed, once all of it is durable: what cannot be read
is a dead letter, because a network that gets an error sends the same again, for hours, and then
switches the subscription off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from klingel.errors import InvariantViolation
from klingel_connectors.intake import Intake
from klingel_connectors.raw import Read, TurnedAway
from klingel_connectors.signatures import Shaken, proved, shake, websub_topic
from klingel_networks.contract import Delivery, Family, NativeObject, Refused

Piece = tuple[Intake, Read]


@dataclass(frozen=True, slots=True)
class Hook:
    """One endpoint, and the intake of each member behind it.

    Attributes:
        family: what rings.
        keys: secrets, newest first.
        verify_token: of Meta's handshake.
        intakes: by member.
        hash_key: under which members make ids of what must not be read in them.
        name: of the app that rings there, `<family>` or `<family>/<last>`; empty: the family's.
    """

    family: Family
    keys: Sequence[bytes]
    verify_token: bytes
    intakes: Mapping[str, Intake]
    hash_key: str = ""
    name: str = ""

    @property
    def app(self) -> str:
        """Name of the app that rings there."""
        return self.name or self.family.name

    @property
    def by_subscription(self) -> bool:
        """Whether the last part of the address is a subscription, not an account."""
        return self.family.endpoint.signature == "websub"

    def proved(self, headers: Mapping[str, str], body: bytes, last: str) -> bool:
        """Whether a delivery is what it says to be."""
        return proved(self.family.endpoint.signature, headers, body, self.keys, last)

    def shaken(self, query: Mapping[str, str], last: str) -> Shaken:
        """Return the answer to a handshake."""
        return shake(self.family.endpoint.handshake, query, self.keys, self.verify_token, last)

    def context(self, headers: Mapping[str, str], last: str) -> dict[str, str]:
        """Return what mapping needs beside the body."""
        if self.by_subscription:
            topic = websub_topic(headers.get("Link", ""), last, self.keys)
            kind = headers.get("Content-Type", "")[:200]
            return {"subscription": last, "topic": topic, "content_type": kind}
        context = {"channel": last} if last else {}
        return context | {"hash_key": self.hash_key} if self.family.hashes else context

    def read(self, delivery: Delivery, received_at: datetime) -> list[Piece]:
        """Cut a delivery into the pieces of its members: n objects in, n out.

        Raises:
            BrakePulled: our own code raised too often.
        """
        try:
            pieces = self.family.explode(delivery)
        except InvariantViolation:
            raise
        except Exception as error:  # noqa: BLE001  what pure code raises on is a dead letter
            first = self.intakes[self.family.networks[0]]
            return [(first, first.turned_away(TurnedAway(delivery.body, error)))]
        return [self._read(member, piece, received_at) for member, piece in pieces]

    def _read(self, member: str, piece: NativeObject | Refused, received_at: datetime) -> Piece:
        intake = self.intakes.get(member)
        if intake is None:
            # Our own mistake; the object is kept all the same, and the brake counts it.
            first = self.intakes[self.family.networks[0]]
            stray = TurnedAway(piece.native, LookupError("an object of no member of the family"))
            return first, first.turned_away(stray)
        return intake, intake.read_piece(piece, "live", received_at)
