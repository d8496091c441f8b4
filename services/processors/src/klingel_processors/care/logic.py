"""The decisions of care, for one partition of `social-events` and `case-commands` (port `Logic`).

The case record is at once output, changelog and the mark by which a repeated fact or command is
known; its entry among the timers derives from it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.domain.cases import Change, fold_command, fold_event, pass_time, wake
from klingel.domain.conversation import ConversationState
from klingel.domain.erasure import Suppressed
from klingel.domain.identity import deterministic_id, hash64
from klingel.domain.routing import Routing, route
from klingel.domain.timers import Firing, fire
from klingel.errors import (
    ErrorType,
    InvalidMessage,
    InvariantViolation,
    RetryableError,
    SourceUnavailable,
)
from klingel.model import Case, CaseCommand, RoutedEvent, SocialEvent
from klingel.stage.batch import Coordinates
from klingel.stage.fates import Fate, Outcome, Put
from klingel.stage.ports import StateView
from klingel_processors.care.erasing import Erasing, is_erased
from klingel_processors.care.outputs import Outputs
from klingel_processors.care.records import (
    CASES,
    Conversations,
    due_cases,
    is_noted,
    moved,
    put_off,
    puts_of,
    read_case,
    read_note,
    read_stored,
    removal,
    restored,
    timer_key,
    timer_puts,
)

NAME = "care"
SOURCE = f"klingel/{NAME}"
TIMERS_AT_ONCE = 400
"""Timers that are looked at in one tick: what came in waits for them (50 to 70 ms of a core,
`benchmarks/care.py`), and what is left goes on at the next turn, behind whatever waited meanwhile."""
_CONFIG_LAG = timedelta(seconds=60)
_SECOND_LOOK = timedelta(hours=1)
_LEAD = timedelta(minutes=10)
_DEFAULT_AGE = timedelta(days=7)
# Looked up for every event: an enumeration gives its members at ten times the cost.
_COMMANDS, _DELIVERED = Topic.CASE_COMMANDS, Fate.DELIVERED


def _believed(command: CaseCommand, message: Message) -> CaseCommand:
    """Return a command that was not given after the broker took it, but for ten minutes."""
    if not message.timestamp_ms:
        return command
    latest = datetime.fromtimestamp(message.timestamp_ms / 1000, UTC) + _LEAD
    return command if command.at <= latest else msgspec.structs.replace(command, at=latest)


class CareLogic:
    """Decides social events and commands of one partition, and what time makes of its cases.

    Args:
        partition: number of the partition.
        brands: current brands, by name.
        suppressed: who and what was erased.
    """

    name = NAME
    inputs: tuple[Topic, ...] = (Topic.SOCIAL_EVENTS, Topic.CASE_COMMANDS)
    tables: Mapping[str, Topic] = {CASES: Topic.CASES}
    wants_time = True

    def __init__(
        self,
        partition: int,
        *,
        brands: Callable[[], Mapping[str, CompiledBrand]],
        suppressed: Suppressed | None = None,
    ) -> None:
        self._partition = partition
        self._brands = brands
        self._suppressed = Suppressed() if suppressed is None else suppressed
        self._erasing = Erasing()
        self._conversations = Conversations()
        self._reading_since: datetime | None = None

    def source_of(self, message: Message) -> str:
        """Return the event's network, as its `ce_subject` begins; `command` for a command."""
        if message.topic is _COMMANDS:
            source = (message.header("ce_source") or b"").decode("utf-8", "replace")
            return source.rpartition("/")[2] or "command"
        for name, value in message.headers:  # asked for every event
            if name == "ce_subject":
                return value.partition(b":")[0].decode("utf-8", "replace")
        return ""

    def needs(self, message: Message, state: StateView) -> Sequence[Coordinates]:
        """Return where the event lies that a command overrules; it is said again."""
        if message.topic is not _COMMANDS or b'"override"' not in (message.value or b""):
            return ()
        command = codec.decode(CaseCommand, message.value)
        if command.object_id is None:
            return ()
        place = conversation_key(command.brand, command.conversation_id)
        before = self._conversations.load(state, place)
        _, fact = before.find(hash64(command.object_id))
        if fact is None or fact.origin is None:
            return ()
        return ((Topic.SOCIAL_EVENTS, fact.origin[0], fact.origin[1]),)

    def look_over(self, messages: Sequence[Message]) -> None:
        """Nothing of it is cheaper in a row."""

    def step(
        self,
        message: Message,
        state: StateView,
        now: datetime,
        history: Mapping[Coordinates, Message],
    ) -> Outcome:
        """Fold one social event or command; raises InvalidMessage."""
        if message.topic is _COMMANDS:
            return self._command(message, state, now, history)
        event = codec.decode(SocialEvent, message.value)
        if self._suppressed and is_erased(self._suppressed, event):
            return Outcome(Fate.DISCARDED, reason="erased", network=event.network)
        brand = self._brand(event.brand, message, now)

        def routing(event: SocialEvent, again: bool) -> Routing:  # noqa: FBT001 - the fold's port
            return route(event, brand, again=again)

        place = conversation_key(event.brand, event.conversation_id)
        before = self._conversations.load(state, place)
        position = (message.partition, message.offset)
        folded = fold_event(before, event, position, routing, brand, now)
        decision = folded.decision
        if folded.repeated:
            return Outcome(Fate.REPEATED, reason=decision.triage, network=event.network)
        outputs = Outputs.of_message(message, SOURCE, event.object_id, now)
        assert message.value is not None
        outputs.routed(
            event.event_id,
            event.object_id,
            RoutedEvent(event=msgspec.Raw(message.value), decision=decision),
            place,
            brand.topic_queues,
        )
        puts = self._write(outputs, place, before, folded.change, brand)
        return Outcome(
            _DELIVERED,
            reason=decision.triage,
            network=event.network,
            outputs=outputs.all,
            puts=puts,
        )

    def _command(
        self,
        message: Message,
        state: StateView,
        now: datetime,
        history: Mapping[Coordinates, Message],
    ) -> Outcome:
        command = _believed(codec.decode(CaseCommand, message.value), message)
        brand = self._brand(command.brand, message, now)
        place = conversation_key(command.brand, command.conversation_id)
        before = self._conversations.load(state, place)
        folded = fold_command(before, command, brand, now)
        if folded.result == "repeated":
            return Outcome(Fate.REPEATED, reason="known_command", network="command")
        outputs = Outputs.of_message(message, SOURCE, command.conversation_id, now)
        if folded.decision is not None:
            decision, (partition, offset) = folded.decision
            found = history.get((Topic.SOCIAL_EVENTS, partition, offset))
            if found is not None and found.value is not None:
                event = codec.decode(SocialEvent, found.value)
                outputs.routed(
                    event.event_id,
                    event.object_id,
                    RoutedEvent(event=msgspec.Raw(found.value), decision=decision),
                    place,
                    brand.topic_queues,
                )
        puts = self._write(outputs, place, before, folded.change, brand)
        return Outcome(
            Fate.DELIVERED,
            reason=folded.result,
            network="command",
            outputs=outputs.all,
            puts=puts,
        )

    def _write(
        self,
        outputs: Outputs,
        place: bytes,
        before: ConversationState,
        change: Change,
        brand: CompiledBrand,
    ) -> tuple[Put, ...]:
        """Add what a change writes to the outputs; return what it makes of local state."""
        if change.is_nothing:
            return ()
        records = [codec.encode(case) for case in change.changed]
        outputs.change(place, before, change, records)
        self._conversations.keep(place, change)
        return tuple(puts_of(place, before, change, records, brand.max_open_age))

    def tick(self, state: StateView, now: datetime, read_to: datetime | None) -> Sequence[Outcome]:
        """Fire the timers that are due: warnings, breaches, snoozes that are over, forgetting."""
        if self._reading_since is None:
            self._reading_since = now
        outcomes: list[Outcome] = []
        seen: dict[bytes, bool] = {}
        self._conversations.begin_tick()
        for key, case_id in due_cases(state, now, TIMERS_AT_ONCE):
            try:
                outcome = self._fire(state, key, case_id, now, read_to, seen)
            except (RetryableError, InvariantViolation):
                raise
            except Exception:  # noqa: BLE001 - one case must not stop the timers of all others
                puts = put_off(key, now + _SECOND_LOOK)
                outcome = Outcome(Fate.DELIVERED, reason="unreadable", puts=puts)
            if outcome is not None:
                outcomes.append(outcome)
        erased = self._erasing.next(self._suppressed, state, set(seen))
        return [*outcomes, *(self._erased(state, case, now) for case in erased)]

    def _erased(self, state: StateView, case: Case, now: datetime) -> Outcome:
        """Forget the case of somebody who was erased; what was said of it goes with its objects."""
        place = conversation_key(case.brand, case.conversation_id)
        before = self._conversations.load(state, place)
        identity = deterministic_id("erased", case.case_id)
        outputs = Outputs.of_timer(identity, SOURCE, case.case_id, now, self._partition)
        outputs.tracking(place, before, before.left_with(case.case_id, None))
        self._conversations.passed(state, place, None)
        outputs.untold(place, case)
        outputs.forgotten(place, case.case_id, case.revision + 1)
        gone = removal(place, case.case_id, case, self._open_age(case.brand))
        puts = (*gone, *restored(read_note(state, place), place, case.case_id, None))
        return Outcome(Fate.DELIVERED, reason="erased", outputs=outputs.all, puts=puts)

    def _fire(
        self,
        state: StateView,
        key: bytes,
        case_id: str,
        now: datetime,
        read_to: datetime | None,
        seen: dict[bytes, bool],
    ) -> Outcome | None:
        """Fire the timers of one case; None where they have to wait.

        What changes more of a conversation than one record waits for the others of this tick, and
        they for it: each is decided on the state that the one before left.
        """
        case = read_case(state, case_id)
        if case is None:
            return Outcome(Fate.DELIVERED, reason="stale", puts=(Put(CASES, key, None),))
        brand = self._brands().get(case.brand)
        if brand is None:  # it may come back; until then others are not to wait behind it
            return Outcome(Fate.DELIVERED, reason="stale", puts=put_off(key, now + _CONFIG_LAG))
        current = timer_key(case, brand.max_open_age)
        if current != key:
            there = (Put(CASES, current, b""),) if current is not None else ()
            return Outcome(Fate.DELIVERED, reason="stale", puts=(Put(CASES, key, None), *there))
        firing = fire(case, now, read_to, brand, self._reading_since)
        place = conversation_key(case.brand, case.conversation_id)
        if firing is None:
            return None
        alone = firing.wakes or firing.case is None or case.state == "merged"
        if place in seen and (alone or seen[place]):
            return None
        seen[place] = alone
        reason = firing.fired[-1].kind
        outputs = Outputs.of_timer(firing.fired[0].id, SOURCE, case.case_id, now, self._partition)
        puts = self._passed(outputs, state, case, key, firing, brand, now)
        return Outcome(Fate.DELIVERED, reason=reason, outputs=outputs.all, puts=puts)

    def _passed(
        self,
        outputs: Outputs,
        state: StateView,
        case: Case,
        key: bytes,
        firing: Firing,
        brand: CompiledBrand,
        now: datetime,
    ) -> tuple[Put, ...]:
        place = conversation_key(case.brand, case.conversation_id)
        if firing.wakes:
            before = self._conversations.load(state, place)
            return self._write(outputs, place, before, wake(before, firing, brand, now), brand)
        after, happened, escalations = pass_time(case, firing, brand, now)
        if case.state == "merged":
            before = self._conversations.load(state, place)
            outputs.tracking(place, before, before.left_with(case.case_id, after))
        self._conversations.passed(state, place, after)
        outputs.events(place, happened, escalations)
        if after is None:
            outputs.forgotten(place, case.case_id)
            gone = removal(place, case.case_id, case, brand.max_open_age)
            return (*gone, *restored(read_note(state, place), place, case.case_id, None))
        record = codec.encode(after)
        outputs.case(place, after, record)
        return (
            Put(CASES, b"c" + case.case_id.encode(), record),
            *moved(key, after, brand.max_open_age),
            *restored(read_note(state, place), place, case.case_id, after),
        )

    def batch_outputs(
        self, rows: Sequence[bytes], partition: int, now: datetime
    ) -> Sequence[Output]:
        """Return nothing: the case records are the marks."""
        del rows, partition, now
        return ()

    def restore(self, table: str, message: Message, state: StateView) -> Iterable[Put]:
        """Return what a record of `cases` says of local state."""
        if table != CASES or message.key is None:
            raise InvariantViolation("a record of cases has no key")
        if message.value is None:
            return self._gone(b"c" + message.key, state)
        case = read_stored(message.value)
        key = b"c" + case.case_id.encode()
        place = conversation_key(case.brand, case.conversation_id)
        self._conversations.forget(place)
        note = read_note(state, place)
        # Most are new; that the note tells, and a record is not looked for that is not there.
        stored = state.get(CASES, key) if is_noted(note, case.case_id) else None
        old = read_stored(stored) if stored is not None else None
        return (
            Put(CASES, key, message.value),
            *timer_puts(old, case, self._open_age(case.brand)),
            *restored(note, place, case.case_id, case),
        )

    def _gone(self, key: bytes, state: StateView) -> tuple[Put, ...]:
        """Return what the tombstone of a record says of local state."""
        stored = state.get(CASES, key)
        if stored is None:
            return (Put(CASES, key, None),)
        case = read_stored(stored)
        place = conversation_key(case.brand, case.conversation_id)
        self._conversations.forget(place)
        gone = removal(place, case.case_id, case, self._open_age(case.brand))
        return (*gone, *restored(read_note(state, place), place, case.case_id, None))

    def _open_age(self, name: str) -> timedelta:
        brand = self._brands().get(name)
        return brand.max_open_age if brand is not None else _DEFAULT_AGE

    def _brand(self, name: str, message: Message, now: datetime) -> CompiledBrand:
        brand = self._brands().get(name)
        if brand is not None:
            return brand
        # The broker's time: what an event says of its own may lie in the future.
        if now.timestamp() - message.timestamp_ms / 1000 < _CONFIG_LAG.total_seconds():
            raise SourceUnavailable("the brand's configuration has not arrived yet")
        raise InvalidMessage(
            ErrorType.UNKNOWN_BRAND, "no configuration is in force for the brand", path="brand"
        )
