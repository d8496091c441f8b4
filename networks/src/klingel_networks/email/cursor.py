"""Where we are in a folder, and what to read next; pure."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from klingel.errors import ConfigurationError
from klingel_networks.arrival import Mode

REREAD = timedelta(days=7)
"""After a change of UIDVALIDITY so much before the newest known mail is read again."""
_SLACK = timedelta(hours=1)


class Position(NamedTuple):
    """The newest mail of a folder that was delivered.

    Attributes:
        validity: UIDVALIDITY under which the UID counts.
        uid: 0 where the folder was empty.
        received: up to when everything was heard, seconds since 1970: INTERNALDATE of the newest
            mail, at first the moment of the start.
        reading: while a folder is read again after a change: INTERNALDATE up to which all was heard
            before, in seconds; 0 otherwise.
        history: seconds since 1970 up to which mails are history; 0 where none is read.
    """

    validity: int
    uid: int
    received: int
    reading: int = 0
    history: int = 0

    def encode(self) -> str:
        """Return the cursor."""
        return "|".join(map(str, self))

    @classmethod
    def decode(cls, cursor: str) -> "Position":
        """Read a cursor; raises ConfigurationError, since only we wrote it."""
        try:
            validity, uid, received, reading, history = map(int, cursor.split("|"))
        except ValueError:
            raise ConfigurationError("the stored cursor is not one of a mail folder") from None
        return cls(validity, uid, received, reading, history)

    def after(self, uid: int, received_at: datetime | None) -> "Position":
        """Return the position behind a mail."""
        received = self.received
        if received_at is not None:
            received = max(received, int(received_at.timestamp()))
        return self._replace(uid=uid, received=received)

    def mode(self, received_at: datetime | None) -> Mode:
        """Return how a mail reaches us that the server got then.

        While a folder is read again, what is older than the newest known mail was heard before: it
        opens nothing, should its id be unknown all the same.
        """
        moment = None if received_at is None else int(received_at.timestamp())
        if self.history and (moment is None or moment < self.history):
            return "backfill"
        if not self.reading:
            return "live"
        if moment is not None and moment < self.reading - int(_SLACK.total_seconds()):
            return "backfill"
        return "gap_fill"

    def renewed(self, validity: int) -> "Position":
        """Return where to begin under another UIDVALIDITY: before everything."""
        return Position(validity, 0, self.received, self.reading or self.received, self.history)

    def caught_up(self) -> "Position":
        """Return the position once everything was read again."""
        return self._replace(reading=0, history=0)

    @property
    def newest(self) -> datetime:
        """Up to when everything was heard."""
        return datetime.fromtimestamp(self.received, UTC)

    @property
    def read_since(self) -> datetime | None:
        """From which day on a folder is read again; None for all of it."""
        if not self.reading:
            return None
        return datetime.fromtimestamp(self.reading, UTC) - REREAD


def first(validity: int, next_uid: int, now: datetime, history_days: int) -> Position:
    """Return where to begin in a folder that was never read."""
    moment = int(now.timestamp())
    if history_days <= 0:
        return Position(validity, max(0, next_uid - 1), moment)
    return Position(validity, 0, moment, history=moment)
