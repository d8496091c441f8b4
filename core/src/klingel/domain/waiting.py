"""Who waited for what, and how long: recorded while a case is folded, judged by its clocks.

A wait begins with the customer's first unanswered word and ends with the brand's answer. It is
withdrawn when that word is deleted, and begins anew with the next one that is still unanswered.
What stood in between (the case waited for the customer, was snoozed, was closed) is kept as spans.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from klingel.model.case import Summary

WaitName = Literal["first_response", "next_response"]
Span = tuple[datetime, datetime | None]


@dataclass(slots=True)
class Wait:
    """One promise to answer.

    Attributes:
        name: first response of the case, or a further one.
        object: hash of the word that began it, or the command.
        started_at: when that was said.
        terms: key of what was promised; None where nothing was.
        met_at: when the brand answered.
        ended_at: when it ended without an answer.
        agent: who signed the answer.
    """

    name: WaitName
    object: str
    started_at: datetime
    terms: str | None
    met_at: datetime | None = None
    ended_at: datetime | None = None
    agent: str | None = None


@dataclass(slots=True)
class Waiting:
    """The waits of one case, and the spans in which its resolution may have stood.

    Attributes:
        opened_at: opening of the case.
        waits: in the order of their beginnings.
        idle: spans in which the customer had the word.
        snoozed: spans in which the case was put aside.
        closed: spans in which it was closed.
        before: what is known of waits that are folded away.
    """

    opened_at: datetime
    waits: list[Wait] = field(default_factory=list)
    idle: list[Span] = field(default_factory=list)
    snoozed: list[Span] = field(default_factory=list)
    closed: list[Span] = field(default_factory=list)
    before: Summary | None = None

    @classmethod
    def resumed(cls, summary: Summary) -> "Waiting":
        """Return the waits as they were after the facts that are folded into a summary."""
        self = cls(summary.opened_at, before=summary)
        terms = summary.opening.terms
        answered = summary.first_response_at
        if answered is not None:
            first = Wait("first_response", "", summary.opened_at, terms, met_at=answered)
            self.waits.append(first)
        since = summary.waiting_since
        if since is not None:
            name: WaitName = "first_response" if answered is None else "next_response"
            self.waits.append(Wait(name, "", since, terms))
        elif summary.closed_at is None:
            counted = summary.counted
            self.idle.append((summary.last_at if counted is None else counted.until, None))
        if summary.closed_at is not None:
            self.closed.append((summary.closed_at, None))
        return self

    @property
    def current(self) -> Wait | None:
        """The wait that goes on."""
        last = self.waits[-1] if self.waits else None
        return last if last is not None and last.met_at is None and last.ended_at is None else None

    def begin(self, object_hash: str, at: datetime, terms: str | None, *, answered: bool) -> None:
        """Note a word that waits for an answer; nothing changes while an earlier one does."""
        waits = self.waits
        current = waits[-1] if waits else None
        # Asked without `current`, for each word of a case.
        if current is not None and current.met_at is None and current.ended_at is None:
            if at < current.started_at:  # noqa: PLR1730 - a call costs more, for each word
                current.started_at = at
        else:
            name: WaitName = "next_response" if answered else "first_response"
            waits.append(Wait(name, object_hash, at, terms))
            _end(self.idle, at)

    def answer(self, at: datetime, agent: str | None) -> None:
        """Note an answer of the brand."""
        current = self.current
        if current is not None:
            current.met_at, current.agent = at, agent
        if not self.idle or self.idle[-1][1] is not None:
            self.idle.append((at, None))

    def withdraw(self, object_hash: str, at: datetime, pending: Mapping[str, datetime]) -> None:
        """Note that a waiting word was deleted, while others may be pending still."""
        current = self.current
        if current is None or current.object != object_hash:
            return
        if not pending:
            current.ended_at = at
            self.idle.append((at, None))
            return
        # It never had to be answered: what waits is the next word, from its own time on.
        current.object, current.started_at = min(pending.items(), key=lambda each: each[1])

    def snooze(self, at: datetime) -> None:
        """Note that the case is put aside."""
        self.snoozed.append((at, None))

    def wake(self, at: datetime) -> None:
        """Note that it is taken up again."""
        _end(self.snoozed, at)

    def close(self, at: datetime) -> None:
        """Note that the case is closed; whoever waited does so no more."""
        current = self.current
        if current is not None:
            current.ended_at = at
        _end(self.idle, at)
        self.closed.append((at, None))

    def reopen(self, at: datetime) -> None:
        """Note that the case is open again."""
        _end(self.closed, at)


def _end(spans: list[Span], at: datetime) -> None:
    if spans and spans[-1][1] is None:
        spans[-1] = (spans[-1][0], max(at, spans[-1][0]))
