"""Which cases must go because their customer was erased (I11).

A case is known by its customer; whether they were erased only a keyed hash tells. So all cases of a
partition are looked at, some at a time, whenever somebody was erased since the last look, and again
until a look finds none.
"""

from typing import Final

import msgspec

from klingel.contracts.partition import conversation_key
from klingel.domain.erasure import Suppressed, author_name
from klingel.model import Case, SocialEvent
from klingel.stage.ports import StateView
from klingel_processors.care.records import CASES, read_case

AT_ONCE: Final = 500
"""Cases that are looked at in one tick."""
_FIRST, _BEHIND = b"c", b"d"


class _Head(msgspec.Struct, frozen=True, gc=False):
    """What tells whose case it is."""

    case_id: str
    customer_id: str


_HEAD: Final = msgspec.json.Decoder(_Head)


def is_erased(suppressed: Suppressed, event: SocialEvent) -> bool:
    """Whether an event was erased before it came; what takes words away always passes."""
    if event.change == "deleted":
        return False
    author = None if event.author is None else author_name(event.network, event.author.id)
    return suppressed.holds(event.object_id, author, event.published_at, event.received_at)


class Erasing:
    """Looks through a partition's cases; nothing is remembered of it but where it stands."""

    __slots__ = ("_clean", "_done", "_for", "_next")

    def __init__(self) -> None:
        self._done = 0
        self._for = 0
        self._next = _FIRST
        self._clean = True

    def next(self, suppressed: Suppressed, state: StateView, busy: set[bytes]) -> list[Case]:
        """Return cases that must go, of each conversation one.

        Args:
            suppressed: who was erased.
            state: of the partition.
            busy: conversations that something else changes in this tick; those of the found are added.
        """
        if suppressed.count == self._done:
            return []
        if self._next == _FIRST:
            self._for, self._clean = suppressed.count, True
        found: list[Case] = []
        entries = state.scan(CASES, self._next, _BEHIND, AT_ONCE)
        for _, value in entries:
            head = _HEAD.decode(value)
            if not suppressed.holds_case(head.case_id, head.customer_id, None):
                continue
            case = read_case(state, head.case_id)
            if case is None or not suppressed.holds_case(
                case.case_id, case.customer_id, case.opened_at
            ):
                continue
            self._clean = False
            place = conversation_key(case.brand, case.conversation_id)
            if place not in busy:
                busy.add(place)
                found.append(case)
        if len(entries) == AT_ONCE:
            self._next = entries[-1][0] + b"\0"
        else:
            self._next = _FIRST
            if self._clean:
                self._done = self._for
        return found
