r"""How the records of cases lie in the local table `cases`, which mirrors the topic of that name.

| key | value |
|---|---|
| `c<case id>` | the record, as it was written |
| `n<conversation>` | what changed the conversation last, and its records while they are few |
| `v<conversation>\0<case id>` | nothing: which records a conversation has, where they are many |
| `t<due, milliseconds><case id>` | nothing: which timers are due, in their order |
| `f<due, milliseconds><case id>` | nothing: which records are to be forgotten, in their order |

Nobody waits for forgetting, which may have to wait long itself: it lies apart and comes last.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from klingel.contracts import codec
from klingel.domain.cases import Change
from klingel.domain.conversation import ConversationState
from klingel.domain.escalation import ClockName
from klingel.domain.timers import Timed, due_at, is_history
from klingel.model import Case
from klingel.model.case import Escalated, Fired
from klingel.stage.fates import Put
from klingel.stage.ports import StateTable, StateView

CASES = "cases"
LAYOUT = 2
"""Of the table: one more whenever earlier code left out or laid out otherwise what is read here."""
KEPT_RECORDS = 1_024
"""Records of conversations that are kept at hand, and always the last conversation."""
_ALL = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DUE_BYTES = 8
_TIMER, _FORGETTING = b"t", b"f"
_KINDS = (_TIMER, _FORGETTING)
"""Entries of timers, in the order in which they are looked at."""


class Conversations:
    """Reads conversations; one that changed lately is not read again.

    What was refused or rolled back after it was decided is not taken for what is stored: a state at
    hand counts only where the table tells the change that it was left by. Whoever writes a record
    past it says so, or has it forgotten.
    """

    def __init__(self) -> None:
        self._states: dict[bytes, tuple[str, ConversationState]] = {}
        self._records = 0
        self._verified: set[bytes] = set()

    def begin_tick(self) -> None:
        """Trust nothing that was said of time before: it may have been rolled back."""
        self._verified.clear()

    def load(self, state: StateView, place: bytes) -> ConversationState:
        """Return the records of a conversation by its partition key."""
        note = read_note(state, place)
        if note is None:
            return _UNKNOWN
        kept = self._states.get(place)
        if kept is not None and kept[0] == note.token:
            return kept[1]
        return ConversationState.of(_records(state, place, note))

    def keep(self, place: bytes, change: Change) -> None:
        """Keep a conversation's state at hand, for as long as the table tells its token."""
        token = _token(change)
        if token is None:
            return
        self.forget(place)
        self._states[place] = (token, change.state)
        self._records += change.state.size
        while self._records > KEPT_RECORDS and len(self._states) > 1:
            self.forget(next(iter(self._states)))

    def passed(self, state: StateView, place: bytes, after: Case | None) -> None:
        """Note what time made of one case of a conversation, before the table tells it.

        Args:
            state: as it was before.
            place: partition key of the conversation.
            after: the case now; None where it is gone.
        """
        kept = self._states.get(place)
        if kept is None:
            return
        if place not in self._verified:
            note = read_note(state, place)
            if note is not None and note.token == kept[0]:
                self._verified.add(place)
        if after is None or place not in self._verified:
            self.forget(place)
        else:
            self._states[place] = (_told(after.case_id, after), kept[1].replaced(after))

    def forget(self, place: bytes) -> None:
        """Read a conversation anew when it is asked for."""
        kept = self._states.pop(place, None)
        if kept is not None:
            self._records -= kept[1].size


_UNKNOWN = ConversationState()
"""A conversation without a record: most events ask for one."""


class Said(msgspec.Struct, frozen=True, gc=False):
    """What a rebuilding needs of a fact."""

    at: datetime
    received_at: datetime | None = None


class Ordered(msgspec.Struct, frozen=True, gc=False):
    """What a rebuilding needs of a command."""

    kind: str
    at: datetime
    anchor: str | None = None


class Running(msgspec.Struct, frozen=True, gc=False):
    """What a rebuilding needs of a clock."""

    name: ClockName
    state: str
    started_at: datetime
    deadline: datetime
    warn_at: datetime | None = None


class Stored(msgspec.Struct, frozen=True, gc=False):
    """As much of a record as a rebuilding needs; the rest is skipped, at a quarter of the cost."""

    case_id: str
    brand: str
    conversation_id: str
    revision: int
    state: str
    facts: list[Said]
    applied: list[Ordered] | None = None
    commands: list[str] | None = None
    updated_at: datetime | None = None
    closed_at: datetime | None = None
    snoozed_until: datetime | None = None
    clocks: list[Running] | None = None
    fired: list[Fired] | None = None
    escalations: list[Escalated] | None = None


_STORED = msgspec.json.Decoder(Stored)


def read_stored(value: bytes) -> Stored:
    """Read of a record what a rebuilding needs."""
    return _STORED.decode(value)


class Note(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is noted of a conversation.

    Attributes:
        token: which record was written last, with its revision.
        records: its record ids; None where there are too many to be noted here.
    """

    token: str
    records: Sequence[str] | None


_NOTES = msgspec.json.Decoder(Note)
_ENCODER = msgspec.json.Encoder()
_NOTED = 8


def noted(place: bytes, token: str, records: Sequence[str] | None) -> Put:
    """Return the note of a conversation; none where it has no record.

    Args:
        place: partition key of the conversation.
        token: of its last change.
        records: ids of its records in their order; None where they are many.
    """
    if records is not None and not records:
        return Put(CASES, b"n" + place, None)
    return Put(CASES, b"n" + place, _ENCODER.encode(Note(token, records)))


def _listed(place: bytes, case_id: str) -> Put:
    """Return the entry of a record of a conversation that has many."""
    return Put(CASES, b"v" + place + b"\0" + case_id.encode(), b"")


def _token(change: Change) -> str | None:
    """Return what tells a state of a conversation from any other; None where nothing changed."""
    if change.removed:
        return _told(change.removed[-1], None)
    if change.changed:
        last = change.changed[-1]
        return _told(last.case_id, last)
    return None


def _told(case_id: str, case: Case | Stored | None) -> str:
    return f"{case_id}.{'gone' if case is None else case.revision}"


def read_note(state: StateView, place: bytes) -> Note | None:
    """Return what is noted of a conversation by its partition key; None where nothing is known."""
    found = state.get(CASES, b"n" + place)
    return None if found is None else _NOTES.decode(found)


def is_noted(note: Note | None, case_id: str) -> bool:
    """Whether a conversation may have a record; where it has many, each may be there."""
    return note is not None and (note.records is None or case_id in note.records)


def restored(
    note: Note | None, place: bytes, case_id: str, case: Case | Stored | None
) -> Sequence[Put]:
    """Return what notes that one record of a conversation was written or read.

    Args:
        note: of the conversation as it is.
        place: partition key of the conversation.
        case_id: of the record.
        case: the record; None where it is gone.
    """
    token = _told(case_id, case)
    known = note.records if note is not None else ()
    if known is None:
        many = noted(place, token, None)
        return (many,) if case is None else (many, _listed(place, case_id))
    if case is None:
        return (noted(place, token, [each for each in known if each != case_id]),)
    if case_id in known:
        return (noted(place, token, known),)
    return _all_noted(place, token, sorted([*known, case_id]))


def _all_noted(place: bytes, token: str, records: Sequence[str]) -> Sequence[Put]:
    """Return what notes all records of a conversation that may have become too many."""
    if len(records) <= _NOTED:
        return (noted(place, token, records),)
    return (noted(place, token, None), *(_listed(place, each) for each in records))


def _records(state: StateView, place: bytes, note: Note) -> Iterator[Case]:
    if note.records is not None:
        identities = [case_id.encode() for case_id in note.records]
    else:
        start = b"v" + place + b"\0"
        rows = state.scan(CASES, start, start[:-1] + b"\1", _ALL)
        identities = [key[len(start) :] for key, _ in rows]
    for identity in identities:
        value = state.get(CASES, b"c" + identity)
        if value is not None:
            yield codec.decode(Case, value)


def read_case(state: StateView, case_id: str) -> Case | None:
    """Return one record, None where there is none."""
    value = state.get(CASES, b"c" + case_id.encode())
    return None if value is None else codec.decode(Case, value)


def puts_of(
    place: bytes,
    before: ConversationState,
    change: Change,
    records: Sequence[bytes],
    max_open_age: timedelta,
) -> Sequence[Put]:
    """Return what a change makes of the table.

    Args:
        place: partition key of the conversation.
        before: its state before.
        change: what became of it.
        records: the changed records, encoded.
        max_open_age: of the brand.
    """
    puts: list[Put] = []
    for case, encoded in zip(change.changed, records, strict=True):
        puts.append(Put(CASES, b"c" + case.case_id.encode(), encoded))
        puts += timer_puts(_record(before, case.case_id), case, max_open_age)
    for case_id in change.removed:
        puts += removal(place, case_id, _record(before, case_id), max_open_age)
    token = _token(change)
    if token is None:
        return puts
    if before.size > _NOTED < change.state.size:
        puts.append(noted(place, token, None))
        puts += (_listed(place, case.case_id) for case in change.changed)
    else:
        puts += _all_noted(place, token, sorted([each.case_id for each in change.state.records()]))
    return puts


def _record(state: ConversationState, case_id: str) -> Case | None:
    if state.held is not None and state.held.case_id == case_id:
        return state.held
    return state.cases.get(case_id) or state.withdrawn.get(case_id)


def removal(
    place: bytes, case_id: str, old: Timed | None, max_open_age: timedelta
) -> Iterator[Put]:
    """Yield what makes the table forget a record."""
    identity = case_id.encode()
    yield Put(CASES, b"c" + identity, None)
    yield Put(CASES, b"v" + place + b"\0" + identity, None)
    yield from timer_puts(old, None, max_open_age)


def timer_puts(old: Timed | None, case: Timed | None, max_open_age: timedelta) -> Iterable[Put]:
    """Return what moves a record's entry among the timers."""
    was = timer_key(old, max_open_age) if old is not None else None
    return moved(was, case, max_open_age)


def moved(was: bytes | None, case: Timed | None, max_open_age: timedelta) -> Sequence[Put]:
    """Return what moves an entry among the timers, which is known, to where it belongs now."""
    key = timer_key(case, max_open_age) if case is not None else None
    if was == key:
        return ()
    if was is None:
        return (Put(CASES, key, b""),) if key is not None else ()
    gone = Put(CASES, was, None)
    return (gone,) if key is None else (gone, Put(CASES, key, b""))


def timer_key(case: Timed, max_open_age: timedelta) -> bytes | None:
    """Return the entry of a record among the timers, None where it has none."""
    due = due_at(case, max_open_age)
    if due is None:
        return None
    kind = _FORGETTING if is_history(case) else _TIMER
    return kind + _due_key(due) + case.case_id.encode()


def put_off(key: bytes, due: datetime) -> tuple[Put, Put]:
    """Return what moves a timer's entry to a later time."""
    return Put(CASES, key, None), Put(CASES, key[:1] + _due_key(due) + key[1 + _DUE_BYTES :], b"")


def _due_key(due: datetime) -> bytes:
    # Rounded up: what is found due is due to the microsecond.
    since = due - _EPOCH
    ms = since.days * 86_400_000 + since.seconds * 1_000 + (since.microseconds + 999) // 1_000
    return max(ms, 0).to_bytes(_DUE_BYTES, "big")


def due_cases(state: StateView, now: datetime, limit: int) -> Sequence[tuple[bytes, str]]:
    """Return the entries and case ids of the timers that are due.

    In their order, but what is to be forgotten after all for which somebody waits.
    """
    found: list[tuple[bytes, bytes]] = []
    for kind in _KINDS:
        stop = kind + _due_key(now + _MILLISECOND)
        found += state.scan(CASES, kind, stop, limit - len(found))
    return [(key, key[1 + _DUE_BYTES :].decode()) for key, _ in found]


def first_due(table: StateTable) -> datetime | None:
    """Return when the next timer of all cases is due, None where there is none."""
    found = [key for kind in _KINDS for key, _ in table.scan(kind, _after(kind), 1)]
    if not found:
        return None
    ms = min(int.from_bytes(key[1 : 1 + _DUE_BYTES], "big") for key in found)
    return _EPOCH + timedelta(milliseconds=ms)


def _after(kind: bytes) -> bytes:
    return bytes([kind[0] + 1])
