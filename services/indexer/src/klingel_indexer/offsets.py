"""How far a partition may be committed: over the contiguous prefix of settled messages (I7).

Pure. Bulk requests overtake one another, offsets do not: a message that is still in the air holds
back everything behind it.
"""

from collections import deque

from klingel.contracts.envelope import Message
from klingel.stage.fates import Outcome


class Ticket:
    """A message on its way; settled once `outcome` is set."""

    __slots__ = ("message", "outcome")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.outcome: Outcome | None = None


class OffsetTracker:
    """Messages of one partition, in offset order, that are not committed yet.

    Attributes:
        position: the offset that may be committed; only ever grows.
        held_bytes: values of the messages that are not passed yet, settled ones included.
    """

    def __init__(self, position: int) -> None:
        self.position = position
        self.held_bytes = 0
        self._waiting: deque[Ticket] = deque()

    def receive(self, message: Message) -> Ticket:
        """Take in the next message; its offset lies above all earlier ones."""
        ticket = Ticket(message)
        self._waiting.append(ticket)
        self.held_bytes += len(message.value or b"")
        return ticket

    def passed(self) -> list[tuple[Message, Outcome]]:
        """Take out the settled prefix, in offset order, and move the position behind it."""
        waiting = self._waiting
        done: list[tuple[Message, Outcome]] = []
        while waiting and (outcome := waiting[0].outcome) is not None:
            done.append((waiting.popleft().message, outcome))
        if done:
            self.position = done[-1][0].offset + 1
            self.held_bytes -= sum(len(message.value or b"") for message, _ in done)
        return done

    def caught_up(self, consumed: int) -> None:
        """Move the position to where the consumer is, over the markers of transactions.

        Does nothing while a message waits.
        """
        if not self._waiting and consumed > self.position:
            self.position = consumed

    @property
    def oldest(self) -> Message | None:
        """The message that holds back the rest."""
        return self._waiting[0].message if self._waiting else None

    def __len__(self) -> int:
        return len(self._waiting)
