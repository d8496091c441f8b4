"""Looks after the app's webhook at X: whether it is valid, and what it missed is replayed.

The gateway takes the deliveries; the connector, which holds lease, token and the ledger of gaps,
knows from its records when nobody did. What is decided stands in `replays.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

import msgspec

from klingel.errors import ConfigurationError, RetryableError
from klingel_networks.arrival import Attendance, Gap, GapClosed, Report, Tools
from klingel_networks.x import replays
from klingel_networks.x.api import Api, Registered
from klingel_networks.x.ids import at_milliseconds, milliseconds_of
from klingel_networks.x.position import CURSOR_LENGTH, MOST_HOLES, Position
from klingel_networks.x.replays import Again, Ask, Close, Hole, Span

_AWAY = "nobody took what X delivered by webhook; X is asked to replay it"
_INVALID = "the webhook was invalid: X delivered nothing to it"
_NONE = "no webhook of the app rings at {}"


def own_of(registered: Sequence[Registered], hook: str) -> Registered | None:
    """Return the webhook that rings at the gateway's hook; None where there is none."""
    path = f"/hook/{hook}"
    return next((each for each in registered if each.url.rstrip("/").endswith(path)), None)


class Webhooks:
    """What a connector does about its app's webhook.

    Args:
        hook: the gateway's hook where the app rings.
        tools: time, and who took deliveries.
        every_seconds: between two looks at whether the webhook is valid.
        owned: accounts whose ids stand in the same cursor.
    """

    def __init__(
        self, hook: str, tools: Tools, every_seconds: float, owned: Sequence[str] = ()
    ) -> None:
        self._owned = tuple(owned)
        self._hook = hook
        self._tools = tools
        self._every = every_seconds
        self._next = 0.0
        self._own: Registered | None = None
        self._asked = False
        self._refused = ""
        self._found_invalid = False
        self._newest = 0
        self._newest_at = 0.0

    async def look(self, api: Api, here: Position) -> tuple[Position, list[Report]]:
        """Return the position behind what was looked at, and the gaps that opened and closed."""
        attended = self._tools.attended()
        if attended is None or not attended.lives:
            return here, []
        now = self._tools.clock.now()
        before = here.holes
        try:
            here = await self._validity(api, here, now)
        except RetryableError:
            return here, []  # looked at again at its next turn
        if self._own is None and not self._refused:
            # The gateway listens, and nobody rings there: nothing is missed, nothing is replayed.
            here = replace(here, taken=milliseconds_of(now), valid=0, holes=())
            return here, [self._given_up(each) for each in before]
        told = self._gateways_now(attended)
        if not here.taken:
            here = replace(here, taken=self._newest)
            return here, _news(before, here.holes)
        found = replays.absences(attended, here.taken, told)
        here = replace(here, taken=found.taken, holes=replays.entered(here.holes, found))
        return await self._replay(api, here, attended, _news(before, here.holes))

    def _gateways_now(self, attended: Attendance) -> int:
        """Return the time by the gateways' clock: their last word, and how long ago we heard it."""
        newest = max(milliseconds_of(each.at) for each in attended.lives)
        now = self._tools.clock.monotonic()
        if newest != self._newest:
            self._newest, self._newest_at = newest, now
        return newest + round((now - self._newest_at) * 1000)

    def _given_up(self, hole: Hole) -> GapClosed:
        """Return the end of a hole for which nobody can be asked any more."""
        sentence = _NONE.format(f"/hook/{self._hook}")
        return GapClosed(hole.key, "unrecoverable", ended_at=_end_of(hole), sentence=sentence)

    async def _validity(self, api: Api, here: Position, now: datetime) -> Position:
        """Ask whether the webhook is valid, where that is due; an invalid one is to be checked anew.

        Raises:
            RetryableError: not now.
        """
        if self._asked and self._tools.clock.monotonic() < self._next:
            return here
        self._refused = ""
        try:
            self._own = own_of(await api.webhooks(), self._hook)
            if self._own is not None and not self._own.valid:
                self._found_invalid = True
                await api.validate(self._own.id)
                self._own = own_of(await api.webhooks(), self._hook)
        except ConfigurationError as error:
            self._refused = str(error)
        self._asked, self._next = True, self._tools.clock.monotonic() + self._every
        if self._own is None:
            self._found_invalid = False
            return here
        if self._found_invalid:
            # Mended within this look or not: what X tried no more is missing.
            here = _invalid(here, now)
        if self._refused:
            return here
        self._found_invalid = False
        return _valid(here, milliseconds_of(now)) if self._own.valid else _invalid(here, now)

    async def _replay(
        self, api: Api, here: Position, attended: Attendance, reports: list[Report]
    ) -> tuple[Position, list[Report]]:
        """Do for each hole what is to be done."""
        now = milliseconds_of(self._tools.clock.now())
        holes = {each.began: each for each in here.holes}
        for hole in here.holes:
            todo = replays.step(hole, tuple(holes.values()), attended, here.taken, now)
            if self._too_many(here, holes.values()):
                todo = Close("unrecoverable", "too many at once: the oldest is given up")
            if isinstance(todo, Ask):
                todo = await self._ask(api, holes, hole, todo)
            elif isinstance(todo, Again):
                holes[hole.began] = replays.asked_again(hole)
            if isinstance(todo, Close):
                del holes[hole.began]
                reports.append(
                    GapClosed(
                        hole.key, todo.outcome, ended_at=_end_of(hole), sentence=todo.sentence
                    )
                )
        return replace(here, holes=tuple(holes.values())), reports

    def _too_many(self, here: Position, holes: Iterable[Hole]) -> bool:
        """Return whether the cursor has no room for these holes."""
        here = replace(here, holes=tuple(holes))
        return len(here.holes) > MOST_HOLES or here.longest(self._owned) > CURSOR_LENGTH

    async def _ask(self, api: Api, holes: dict[int, Hole], hole: Hole, todo: Ask) -> Close | None:
        """Ask for a replay; what X refuses is unfilled, with its reason."""
        if self._own is None:
            return Close("unrecoverable", self._refused or _NONE.format(f"/hook/{self._hook}"))
        if not self._own.valid:
            return None  # nothing would arrive
        begin, end = at_milliseconds(todo.begin), at_milliseconds(todo.end)
        try:
            job = await api.replay(self._own.id, begin, end)
        except RetryableError:
            return None
        except ConfigurationError as error:
            return Close("unrecoverable", f"X does not replay: {error}")
        now = milliseconds_of(self._tools.clock.now())
        holes[hole.began] = replays.asked(hole, job, now)
        return None


def _news(before: Sequence[Hole], holes: Sequence[Hole]) -> list[Report]:
    """Return the gaps of the holes that were none before."""
    known = {each.key for each in before}
    return [_opened(each) for each in holes if each.key not in known]


def _end_of(hole: Hole) -> datetime | None:
    return at_milliseconds(hole.ended) if hole.ended else None


def _opened(hole: Hole) -> Gap:
    return Gap(
        "disconnected",
        _INVALID if hole.untried else _AWAY,
        key=hole.key,
        start=hole.key,
        began_at=at_milliseconds(hole.began),
    )


def _valid(here: Position, now: int) -> Position:
    """Return the position while the webhook is valid: what was invalid has ended."""
    holes = tuple(
        msgspec.structs.replace(each, ended=now) if each.untried and not each.ended else each
        for each in here.holes
    )
    return replace(here, valid=now, holes=holes)


def _invalid(here: Position, now: datetime) -> Position:
    """Return the position while the webhook is invalid: a hole since it was last seen valid."""
    if any(each.untried and not each.ended for each in here.holes):
        return here
    began = here.valid or milliseconds_of(now)
    return replace(here, holes=replays.opened(here.holes, [Span(began, 0)], untried=True))
