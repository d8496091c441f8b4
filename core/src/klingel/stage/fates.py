"""What can happen to a message: exactly one fate each (I3)."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from klingel.contracts.envelope import Output
from klingel.errors import InvalidMessage, KlingelError


class Fate(StrEnum):
    """The closed set; `waiting` is whatever lies between a ledger line and the end of the log."""

    DELIVERED = "delivered"
    REPEATED = "repeated"
    DISCARDED = "discarded"
    DEAD_LETTERED = "dead_lettered"
    WAITING = "waiting"


class NotYet(KlingelError):
    """A step cannot decide a message before something else has come, or the time is up.

    The batch ends before the message. It is asked again when more has come and now and then, and at
    the latest at `until`: the step must then decide.

    Args:
        until: aware time.
    """

    def __init__(self, until: datetime) -> None:
        super().__init__("a message waits for another")
        self.until = until


class Put(NamedTuple):
    """A change of local state: `value` None removes the key."""

    table: str
    key: bytes
    value: bytes | None


class Outcome(msgspec.Struct, frozen=True):
    """What a step decided for one message.

    Attributes:
        fate: never WAITING: a message that waits for another raises NotYet, one that waits for the
            world RetryableError.
        reason: of the stage's closed set, for discards and dead letters.
        network: network of the message, for the ledger; empty when unknown.
        outputs: records that this message causes, in order.
        puts: changes of local state, applied once the outputs are committed.
        rows: packed rows for the stage's batch record (understand's marks).
        error: why it is a dead letter.
    """

    fate: Fate
    reason: str = ""
    network: str = ""
    outputs: tuple[Output, ...] = ()
    puts: tuple[Put, ...] = ()
    rows: tuple[bytes, ...] = ()
    error: InvalidMessage | None = None


def dead_lettered(error: InvalidMessage, network: str = "") -> Outcome:
    """Return the fate of a message that can never succeed."""
    return Outcome(Fate.DEAD_LETTERED, reason=str(error.error_type), network=network, error=error)
