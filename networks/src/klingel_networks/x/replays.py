"""What X's webhook deliveries missed, and how X is asked to replay them: decisions; pure.

X repeats no delivery. `POST /2/webhooks/replay` redelivers what it tried to deliver to one webhook in
the last 24 hours, by minutes, one job at a time, and rings `replay_job_status` when it is done, perhaps
before the last replayed event; whatever comes twice has the same identity. What it never tried, since
the webhook was invalid, is not among it. Whether the app's access includes replays X says only when
it is asked (403).

Source: `x-api/webhooks/{introduction,create-replay-job-for-webhook}`; of the job's end the guide
"Account Activity Replay API", whose job status the webhooks of API v2 ring, too.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from klingel_networks.arrival import Attendance, GapOutcome, Life
from klingel_networks.bounds import READ_ERRORS
from klingel_networks.contract import Delivery, Replayed
from klingel_networks.x.ids import is_id, milliseconds_of

SILENT_MS = 45_000
"""A gateway tells every ten seconds that it is there; after so long nobody is."""
LATE_MS = 30_000
"""What a gateway told of a time is known to us after so long, if it is there."""
REACH_MS = 24 * 3_600_000
PATIENCE_MS = 6 * 3_600_000
"""A replay whose end was not told after so long is not waited for."""
MOST_TRIES = 3
TRAILING_MS = 10_000
"""X rings the end of a replay perhaps before its last event; that one comes within so long."""

_MINUTE_MS = 60_000
_SPARE = 1
"""Minutes more on either side: X's clock is another one, and what comes twice is one event."""
_EDGE_MS = 60_000
_DONE = "complete"
_STATE_LENGTH = 40


class Hole(msgspec.Struct, frozen=True, omit_defaults=True):
    """A time in which nobody took deliveries; milliseconds since 1970.

    Attributes:
        began: and its name.
        ended: 0 while it lasts.
        job: of the replay that was asked for; empty before.
        asked: when that was.
        tries: replays asked for.
        untried: X tried no delivery meanwhile, so that a replay cannot bring everything.
    """

    began: int
    ended: int = 0
    job: str = ""
    asked: int = 0
    tries: int = 0
    untried: bool = False

    @property
    def key(self) -> str:
        """Its name in the ledger of gaps."""
        return f"webhook/{self.began}"


class Span(NamedTuple):
    """A time; `end` is 0 while it lasts."""

    begin: int
    end: int


class Absences(NamedTuple):
    """What attendance tells.

    Attributes:
        taken: until when all is known: looked at from there the next time.
        spans: when nobody took deliveries, in order.
    """

    taken: int
    spans: tuple[Span, ...]


class _Known(NamedTuple):
    """A span, and from when on all of it is known."""

    span: Span
    since: int


def absences(attended: Attendance, taken: int, now: int) -> Absences:
    """Return when nobody took deliveries since `taken`.

    Args:
        attended: who was there.
        taken: until when all is known, in milliseconds.
        now: by the gateways' clock, in milliseconds.
    """
    lives = sorted(
        (milliseconds_of(each.since), milliseconds_of(each.at)) for each in attended.lives
    )
    at = taken
    found: list[_Known] = []
    for since, until in lives:
        if until <= at:
            continue
        if since > at:
            found.append(_Known(Span(at, since), since))
        at = until
    refused = [each for life in attended.lives for each in _refusals(life) if each.since > taken]
    lasting = [Span(at, 0)] if now - at > SILENT_MS else []
    # What others say of this time may still be on its way, and a refusal may still grow.
    growing = [each for each in refused if now - each.span.end < _MINUTE_MS]
    found += [each for each in refused if each not in growing]
    at = max(taken, min([at, now - LATE_MS, *(each.span.begin for each in growing)]))
    for span, since in sorted(found, reverse=True):
        if span.begin < at < since:
            at = max(taken, span.begin)
    past = [span for span, since in found if span.begin < at and since <= at]
    return Absences(at, tuple(sorted(past + lasting)))


def _refusals(life: Life) -> list[_Known]:
    """Return what a gateway refused: it is looked at by when it was told, perhaps much later."""
    begun = [begin for begin, _ in life.refused]
    told = life.told if len(life.told) == len(begun) else begun
    return [
        _Known(
            Span(milliseconds_of(begin), milliseconds_of(end) + 1),
            max(milliseconds_of(end), milliseconds_of(at)) + 1,
        )
        for (begin, end), at in zip(life.refused, told, strict=True)
    ]


def entered(holes: Sequence[Hole], found: Absences) -> tuple[Hole, ...]:
    """Return the holes with what attendance tells.

    One that lasts, and of which attendance knows nothing any more, has ended: a word of that life
    came late.
    """
    begun = {each.begin for each in found.spans}
    return tuple(
        msgspec.structs.replace(each, ended=found.taken)
        if not each.ended
        and not each.untried
        and each.began < found.taken
        and each.began not in begun
        else each
        for each in opened(holes, found.spans)
    )


def opened(
    holes: Sequence[Hole], spans: Iterable[Span], *, untried: bool = False
) -> tuple[Hole, ...]:
    """Return the holes with these spans: one that lasted and has ended is the same hole."""
    found = {hole.began: hole for hole in holes}
    for span in spans:
        known = found.get(span.begin)
        if known is None:
            found[span.begin] = Hole(span.begin, span.end, untried=untried)
        elif span.end > known.ended:
            # One that lasted has ended; of a refusal more was told: then all is asked for anew.
            found[span.begin] = msgspec.structs.replace(known, ended=span.end, job="", asked=0)
    return tuple(found[began] for began in sorted(found))


class Ask(NamedTuple):
    """A replay to be asked for: from a minute, inclusive, to a minute, exclusive; milliseconds."""

    begin: int
    end: int


class Close(NamedTuple):
    """What came of a hole."""

    outcome: GapOutcome
    sentence: str = ""


class Again(NamedTuple):
    """The replay must be asked for once more."""


Step = Ask | Close | Again | None


def step(hole: Hole, holes: Sequence[Hole], attended: Attendance, taken: int, now: int) -> Step:
    """Return what is to be done about a hole; None: nothing now.

    Args:
        hole: one of these.
        holes: all that are known.
        attended: the ends of replays.
        taken: until when all holes are known, in milliseconds.
        now: our clock, in milliseconds.
    """
    if not hole.ended:
        return None
    if hole.job:
        return _answered(hole, holes, attended, taken, now)
    if any(each.job for each in holes):
        return None  # one replay at a time
    end = (hole.ended // _MINUTE_MS + 1 + _SPARE) * _MINUTE_MS
    if end > now:
        return None  # X replays no minute that is not over
    begin = max((hole.began // _MINUTE_MS - _SPARE) * _MINUTE_MS, _oldest(now))
    if begin >= end:
        return Close("unrecoverable", "X replays one day, and this is longer ago")
    return Ask(begin, end)


def _answered(
    hole: Hole, holes: Sequence[Hole], attended: Attendance, taken: int, now: int
) -> Step:
    """Return what the word on a replay means, or its absence."""
    told = attended.replays.get(hole.job)
    if told is None:
        if now - hole.asked <= PATIENCE_MS:
            return None
        return Close("partial", "X told no end of the replay")
    away = any(each.began != hole.began and _during(each, hole.asked) for each in holes)
    if told.state.lower() == _DONE and not away:
        # Whether the replay itself was taken is known only once `taken` is behind it.
        return _filled(hole) if taken >= milliseconds_of(told.at) + TRAILING_MS else None
    if hole.tries < MOST_TRIES:
        return Again()
    said = "nobody was there to take the replay" if away else "X could not replay everything"
    return Close("partial", said)


def _during(other: Hole, asked: int) -> bool:
    """Whether another hole lies, at least in part, behind the asking."""
    return not other.ended or other.ended > asked


def _filled(hole: Hole) -> Close:
    if hole.untried:
        return Close("partial", "while a webhook is invalid X tries no delivery, and replays none")
    if hole.began < _oldest(hole.asked):
        return Close("partial", "X replays one day, and a part is longer ago")
    return Close("filled")


def _oldest(now: int) -> int:
    """Return the oldest minute that X replays, with one to spare for the way there."""
    return -(-(now - REACH_MS + _EDGE_MS) // _MINUTE_MS) * _MINUTE_MS


def asked(hole: Hole, job: str, now: int) -> Hole:
    """Return a hole whose replay was asked for."""
    return msgspec.structs.replace(hole, job=job, asked=now, tries=hole.tries + 1)


def asked_again(hole: Hole) -> Hole:
    """Return a hole whose replay is to be asked for once more."""
    return msgspec.structs.replace(hole, job="", asked=0)


class _Status(msgspec.Struct, gc=False):
    job_id: str | int | None = None
    job_state: str | None = None


class _Body(msgspec.Struct, gc=False):
    replay_job_status: _Status | None = None


_BODY = msgspec.json.Decoder(_Body)


def replayed(delivery: Delivery) -> Replayed | None:
    """Return how a replay ended, where a delivery tells that; None for every other."""
    if b"replay_job_status" not in delivery.body:
        return None
    try:
        status = _BODY.decode(delivery.body).replay_job_status
    except READ_ERRORS:
        return None
    if status is None or status.job_id is None or not is_id(str(status.job_id)):
        return None
    state = (status.job_state or "")[:_STATE_LENGTH]
    return Replayed(str(status.job_id), "".join(each for each in state if each.isalnum()))
