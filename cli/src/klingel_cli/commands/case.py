"""`klingel case`: see the cases of a brand, and say what shall become of them."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import click
import msgspec

from klingel.config.calendars import seconds_of
from klingel.domain.clocks import Promises, explained_by
from klingel.domain.sla import explain
from klingel.errors import ConfigurationError
from klingel.model.case import Case, Clock
from klingel_cli.casework import (
    OPEN,
    REFUSALS,
    Json,
    Place,
    command_of,
    give,
    give_and_wait,
    place_of,
    printable,
    read_case,
    search,
    since,
    spoken,
    timeline,
)
from klingel_cli.commands.config import in_force, who
from klingel_cli.commands.remap import Moment
from klingel_cli.shell import FOUND_WRONG, Failure, Seconds, Shell, as_json, pass_shell

F = TypeVar("F", bound=Callable[..., Any])

STATES: Final = ("open", "waiting", "snoozed", "closed", "merged")
_INTERVALS_SHOWN = 12


class Duration(click.ParamType):
    """A duration such as 90s, 15m, 4h or 2d."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the duration."""
        if isinstance(value, timedelta):
            return value
        try:
            return timedelta(seconds=seconds_of(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group("case")
def case_group() -> None:
    """See the cases of a brand, and say what shall become of them.

    CASE_ID is <brand>:<conversation>:<customer>#<generation>, as `klingel case list` shows it. What
    a command needs beside it is read from Elasticsearch, or given with --conversation. Without a
    CASE_ID, --brand, --conversation and --customer mean the customer's newest case.
    """


# -- list ----------------------------------------------------------------------------------------


@case_group.command("list")
@click.option("--brand", help="Only this brand's.")
@click.option("--queue", help="Only of this queue.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES),
    help="Only in this state, repeatable; all that are not over by default.",
)
@click.option("--assignee", help="Only of this agent; `-` for those that nobody works on.")
@click.option("--incident", help="Only members of this incident.")
@click.option("--late", is_flag=True, help="Only where a deadline was missed.")
@click.option(
    "--waiting-longer-than",
    "waiting",
    type=Duration(),
    help="Only where the customer has waited longer, such as 90m.",
)
@click.option("--size", type=click.IntRange(1, 10_000), default=50, help="At most; 50 by default.")
@as_json
@pass_shell
def list_cases(shell: Shell, /, size: int, *, as_json: bool, **asked: Any) -> None:
    """List cases, the nearest deadline first, then who waits longest."""
    now = shell.now()
    hits = search(
        shell.settings.elasticsearch,
        "cases-*",
        {
            "query": {"bool": filters(now, **asked)},
            "size": size,
            "track_total_hits": True,
            "sort": [
                {"due_at": {"order": "asc", "missing": "_last", "unmapped_type": "date"}},
                {"waiting_since": {"order": "asc", "missing": "_last", "unmapped_type": "date"}},
                {"case_id": {"order": "asc", "unmapped_type": "keyword"}},
            ],
        },
        expected=True,
    )["hits"]
    found = [hit["_source"] for hit in hits["hits"]]
    if as_json:
        for source in found:
            shell.tell(source)
        return
    shell.table(
        ("state", "queue", "#priority", "assignee", "waits", "due", "late", "case"),
        [_row(source, now) for source in found],
    )
    shell.say(f"\n{len(found)} of {hits['total']['value']:,} cases")


def filters(
    now: datetime,
    *,
    brand: str | None = None,
    queue: str | None = None,
    states: Iterable[str] = (),
    assignee: str | None = None,
    incident: str | None = None,
    late: bool = False,
    waiting: timedelta | None = None,
) -> Json:
    """Return the conditions of a list, as parts of a `bool` query.

    Args:
        now: the time.
        brand: brand.
        queue: queue.
        states: any of these; all that are not over where empty.
        assignee: agent; `-` for nobody.
        incident: incident.
        late: a deadline was missed.
        waiting: the customer has waited longer.
    """
    given = {"brand": brand, "queue": queue, "incident": incident}
    asked: list[Json] = [{"term": {name: value}} for name, value in given.items() if value]
    asked.append({"terms": {"state": list(states) or list(OPEN)}})
    # Nobody reads what was taken back: it never was a case.
    refused: list[Json] = [{"term": {"closed_because": "withdrawn"}}]
    if assignee == "-":
        refused.append({"exists": {"field": "assignee"}})
    elif assignee is not None:
        asked.append({"term": {"assignee": assignee}})
    if late:
        passed = {"range": {"due_at": {"lt": now.isoformat()}}}
        asked.append(
            {"bool": {"should": [{"exists": {"field": "late"}}, passed], "minimum_should_match": 1}}
        )
    if waiting is not None:
        asked.append({"range": {"waiting_since": {"lt": (now - waiting).isoformat()}}})
    return {"filter": asked, "must_not": refused}


def _row(source: Json, now: datetime) -> tuple[object, ...]:
    return (
        source["state"],
        source.get("queue"),
        (source.get("priority") or {}).get("score"),
        source.get("assignee"),
        since(_time(source.get("waiting_since")), now),
        _minute(_time(source.get("due_at"))),
        ", ".join(source.get("late") or ()) or None,
        source["case_id"],
    )


def _time(at: str | None) -> datetime | None:
    return None if at is None else datetime.fromisoformat(at)


# -- show ----------------------------------------------------------------------------------------


@case_group.command("show")
@click.argument("case_id", metavar="CASE_ID")
@as_json
@pass_shell
def show_case(shell: Shell, /, case_id: str, *, as_json: bool) -> None:
    """Show a case: its state, its clocks and what they counted, who was told, what happened.

    The counted intervals of a clock add up to its target, to the second. Exit 1 when there is no
    such case.
    """
    elasticsearch = shell.settings.elasticsearch
    case = read_case(elasticsearch, case_id)
    if case is None:
        raise Failure("no such case is indexed; see klingel case list", FOUND_WRONG)
    happened = timeline(elasticsearch, case)
    clocks = list(explained(case))
    if as_json:
        shell.tell({"case": msgspec.to_builtins(case), "clocks": clocks, "timeline": happened})
        return
    _show_head(shell, case)
    for clock in clocks:
        _show_clock(shell, clock)
    _show_escalations(shell, case)
    _show_timeline(shell, happened)


def explained(case: Case) -> Iterator[Json]:
    """Yield what each clock of a case counted: intervals that add up to its target.

    Of one that stood very often `before` tells what was counted until the first pause that the case
    still holds: its seconds are part of the sum. Where the deadline was reached by then it tells
    that, and there are no intervals.

    Those of which the terms cannot be compiled on this machine (an unknown time zone) have none.
    """
    promises = Promises(case.terms or {})
    for clock in case.clocks or ():
        told: Json = {
            "name": clock.name,
            "policy": clock.policy,
            "state": clock.state,
            "target_seconds": clock.target_seconds,
            "started_at": clock.started_at,
            "deadline": clock.deadline,
            "met_at": clock.met_at,
            "business_seconds": clock.business_seconds,
            "wall_seconds": clock.wall_seconds,
        }
        yield told | _counted(clock, promises)


def _counted(clock: Clock, promises: Promises) -> Json:
    known, promise = explained_by(clock, promises), promises.get(clock.terms)
    if known is None or promise is None:
        return {"calendar": None, "before": None, "intervals": []}
    counted, before = explain(known, promise.calendar).to_deadline, known.counted
    return {
        "before": None
        if before is None
        else {"until": before.until, "seconds": before.seconds, "deadline": before.deadline},
        "calendar": promise.calendar.id,
        "zone": promise.calendar.zone.key,
        "intervals": [
            {"from": each.start, "to": each.end, "seconds": each.seconds} for each in counted
        ],
    }


def _show_head(shell: Shell, case: Case) -> None:
    now = shell.now()
    parts = case.priority.parts if case.priority is not None else {}
    overrides = case.overrides
    rows = (
        ("case", case.case_id),
        ("state", " ".join(filter(None, (case.state, _bracketed(case.closed_because))))),
        ("queue", f"{case.queue or '-'}{_instead(case.routed_queue)}"),
        ("assignee", case.assignee),
        ("priority", _sum(case, parts)),
        ("channel", " ".join(filter(None, (case.network, case.channel)))),
        ("opened", _second(case.opened_at)),
        ("waiting", _since(case.waiting_since, now)),
        ("answered", _by(case.first_response_at, case.responded_by)),
        ("acknowledged", _by(case.acknowledged_at, case.acknowledged_by)),
        ("snoozed until", _second(case.snoozed_until)),
        ("reopened", _second(case.reopened_at)),
        ("closed", _second(case.closed_at)),
        ("late", ", ".join(case.late or ()) or None),
        ("incident", case.incident),
        ("similar to", ", ".join(case.similar_to or ()) or None),
        ("merged into", case.merged_into),
        ("overruled", _by(overrides.at, overrides.by) if overrides is not None else None),
    )
    for name, value in rows:
        if value:
            shell.say(f"{name:14} {printable(value)}")
    if case.explain:
        shell.say("\nwhy this queue")
        for line in case.explain:
            shell.say(f"  {printable(line)}")


def _show_clock(shell: Shell, clock: Json) -> None:
    shell.say(
        f"\n{clock['name']}: {clock['state']}, policy {clock['policy']}, "
        f"{spoken(clock['target_seconds'])} until {_second(clock['deadline'])}"
    )
    if clock["business_seconds"] is not None:
        shell.say(
            f"  took {spoken(clock['business_seconds'])} of open time, "
            f"{spoken(clock['wall_seconds'] or 0)} in all"
        )
    for line in counted_lines(clock):
        shell.say(f"  {line}")


def counted_lines(clock: Json) -> Iterator[str]:
    """Yield what `explained` tells of a clock's counting, for people: a line each."""
    intervals, before = clock["intervals"], clock["before"]
    if clock["calendar"] is None:
        yield "what was counted cannot be told: the calendar's zone is not known here"
        return
    if before is not None:
        yield f"before {_second(before['until'])}{before['seconds']:>33,} s"
    if before is not None and before["deadline"] is not None:
        yield f"the deadline was reached by then; calendar {clock['calendar']} ({clock['zone']})"
        return
    for each in intervals[:_INTERVALS_SHOWN]:
        yield f"{_second(each['from'])} to {_second(each['to'])}  {each['seconds']:>9,} s"
    left = intervals[_INTERVALS_SHOWN:]
    if left:
        total = sum(each["seconds"] for each in left)
        yield f"and {len(left)} more intervals{total:>27,} s"
    total = sum(each["seconds"] for each in intervals)
    total += before["seconds"] if before is not None else 0
    yield f"counted by calendar {clock['calendar']} ({clock['zone']}) {total:,} s"


def _show_escalations(shell: Shell, case: Case) -> None:
    if not case.escalations:
        return
    shell.say("\nescalations")
    shell.table(
        ("at", "level", "reason", "state", "told"),
        [
            (_second(each.at), each.level, each.reason, each.state, ", ".join(each.targets or ()))
            for each in case.escalations
        ],
    )


def _show_timeline(shell: Shell, happened: list[Json]) -> None:
    shell.say("\ntimeline")
    shell.table(
        ("at", "what", "details", "by"),
        [
            (
                _second(datetime.fromisoformat(each["at"])),
                each["kind"],
                ", ".join(
                    str(each[name])
                    for name in ("detail", "clock", "level", "queue")
                    if each.get(name) is not None
                ),
                each.get("by") or each.get("agent"),
            )
            for each in happened
        ],
    )


def _sum(case: Case, parts: dict[str, int]) -> str | None:
    if case.priority is None:
        return None
    named = " + ".join(f"{name} {points}" for name, points in parts.items())
    return f"{case.priority.score}{_bracketed(named)}"


def _bracketed(text: str | None) -> str:
    return f" ({text})" if text else ""


def _instead(routed: str | None) -> str:
    return f" (routed to {routed})" if routed else ""


def _by(at: datetime | None, somebody: str | None) -> str | None:
    return None if at is None else f"{_second(at)}{f' by {somebody}' if somebody else ''}"


def _since(at: datetime | None, now: datetime) -> str | None:
    return None if at is None else f"since {_second(at)}, {since(at, now)}"


def _second(at: datetime | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%d %H:%M:%S}Z"


def _minute(at: datetime | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%d %H:%M}Z"


# -- commands ------------------------------------------------------------------------------------

_ADDRESSED = (
    click.argument("case_id", metavar="[CASE_ID]", required=False),
    click.option("--brand", help="Brand, where no CASE_ID tells it."),
    click.option("--conversation", help="Conversation of the case; Elasticsearch is not asked."),
    click.option("--customer", help="Customer, where no CASE_ID tells the case."),
)
_SENT = (
    click.option(
        "--wait",
        type=Seconds(0, 600, min_open=True),
        help="Wait so many seconds for the outcome; exit 1 when care refuses.",
    ),
    as_json,
)


def _decorated(function: F, decorators: Iterable[Callable[[F], F]]) -> F:
    for decorate in reversed(tuple(decorators)):
        function = decorate(function)
    return function


def addressed(function: F) -> F:
    """Add what names a case."""
    return _decorated(function, _ADDRESSED)


def sent(function: F) -> F:
    """Add how a command is sent."""
    return _decorated(function, _SENT)


def order(shell: Shell, kind: str, named: Json, parts: Json) -> None:
    """Give a command about one case, and wait for its outcome where that is asked.

    Args:
        shell: of the run.
        kind: what is wanted.
        named: options of `addressed` and `sent`.
        parts: what the kind needs.
    """
    place = place_of(
        shell.settings.elasticsearch,
        named["case_id"],
        named["brand"],
        named["conversation"],
        named["customer"],
    )
    dispatch(shell, kind, place, parts, wait=named["wait"], as_json=named["as_json"])


def dispatch(
    shell: Shell, kind: str, place: Place, parts: Json, *, wait: float | None, as_json: bool
) -> None:
    """Give a command about a case that was found; see `order`."""
    kafka = shell.settings.kafka
    command = command_of(kind, place, who(), shell.now(), **parts)
    if place.case is None:
        _known_brand(shell, place.brand)
    told: Json = {
        "command_id": command.command_id,
        "kind": command.kind,
        "brand": command.brand,
        "conversation_id": command.conversation_id,
        "case_id": command.case_id,
        "customer_id": command.customer_id,
    }
    if wait is None:
        give(kafka, [command])
        if as_json:
            shell.tell(told)
        else:
            shell.say(f"command {command.command_id}: {kind} is given")
        return
    took = give_and_wait(kafka, command, wait)
    if as_json:
        shell.tell({**told, "refused": took.refused, "happened": list(took.happened)})
    elif took.refused is None:
        happened = ", ".join(took.happened) or "nothing more than that"
        shell.say(f"command {command.command_id}: {kind} is done ({happened})")
    if took.refused is not None:
        if as_json:
            shell.found_wrong()
        reason = REFUSALS.get(took.refused, took.refused)
        raise Failure(f"{kind} is refused: {reason}", FOUND_WRONG)


def _known_brand(shell: Shell, brand: str) -> None:
    """Refuse a brand that is not in force: nobody would take the command."""
    known = in_force(shell.settings.kafka)
    if brand not in known:
        names = ", ".join([*known][:20]) or "none"
        raise ConfigurationError(f"there is no brand {brand} in force; there are {names}")


@case_group.command("ack")
@addressed
@sent
@pass_shell
def acknowledge(shell: Shell, /, **named: Any) -> None:
    """Say that somebody looks after a case: its escalations are raised no further."""
    order(shell, "acknowledge", named, {})


@case_group.command("assign")
@addressed
@click.option("--to", "assignee", metavar="AGENT", help="Who works on it.")
@click.option("--nobody", is_flag=True, help="Nobody works on it any more.")
@sent
@pass_shell
def assign(shell: Shell, /, assignee: str | None, *, nobody: bool, **named: Any) -> None:
    """Say who works on a case."""
    if (assignee is None) is not nobody:
        raise ConfigurationError("say who works on it: --to AGENT, or --nobody")
    order(shell, "assign", named, {"assignee": assignee})


@case_group.command("snooze")
@addressed
@click.option("--until", type=Moment(), help="Until then.")
@click.option("--for", "span", type=Duration(), help="So long, such as 4h; a day is 24 hours.")
@sent
@pass_shell
def snooze(shell: Shell, /, until: datetime | None, span: timedelta | None, **named: Any) -> None:
    """Put a case aside until a time, or until its customer says more."""
    if (until is None) is (span is None):
        raise ConfigurationError("say how long it sleeps: --until TIME or --for DURATION")
    now = shell.now()
    wake = until if until is not None else now + (span or timedelta(0))
    if wake <= now:
        raise ConfigurationError("--until lies ahead, not in the past")
    order(shell, "snooze", named, {"until": wake})


@case_group.command("close")
@addressed
@sent
@pass_shell
def close(shell: Shell, /, **named: Any) -> None:
    """Close a case; a later word of its customer opens it again."""
    order(shell, "close", named, {})


@case_group.command("reopen")
@addressed
@sent
@pass_shell
def reopen(shell: Shell, /, **named: Any) -> None:
    """Open a closed case again."""
    order(shell, "reopen", named, {})


@case_group.command("override")
@addressed
@click.option("--queue", help="The queue it belongs in.")
@click.option("--priority", type=click.IntRange(0, 1000), help="How urgent it is.")
@click.option("--post", metavar="OBJECT_ID", help="The post of which tone or intents are decided.")
@click.option("--tone", type=click.Choice(("negative", "neutral", "positive")), help="Its tone.")
@click.option("--intent", "intents", multiple=True, help="What its author wants; repeatable.")
@sent
@pass_shell
def override(
    shell: Shell,
    /,
    queue: str | None,
    priority: int | None,
    post: str | None,
    tone: str | None,
    intents: tuple[str, ...],
    **named: Any,
) -> None:
    """Decide queue or priority of a case, or tone or intents of a post of it, for good.

    No rule and no model is asked again for what a person decided.
    """
    of_post = tone is not None or bool(intents)
    if of_post is (post is None):
        raise ConfigurationError(
            "--tone and --intent are those of a --post, and a --post needs one"
        )
    if not of_post and queue is None and priority is None:
        raise ConfigurationError(
            "say what is decided: --queue, --priority, or --post with --tone or --intent"
        )
    parts = {
        "queue": queue,
        "priority": priority,
        "object_id": post,
        "tone": tone,
        "intents": list(intents) or None,
    }
    order(shell, "override", named, parts)


@case_group.command("split")
@addressed
@click.option("--post", required=True, metavar="OBJECT_ID", help="The first post of the new case.")
@sent
@pass_shell
def split(shell: Shell, /, post: str, **named: Any) -> None:
    """Make a case of its own of what its customer said from one post on."""
    order(shell, "split", named, {"object_id": post})


@case_group.command("merge")
@click.argument("case_id", metavar="CASE_ID")
@click.argument("other", metavar="OTHER_CASE_ID")
@sent
@pass_shell
def merge(shell: Shell, /, case_id: str, other: str, *, wait: float | None, as_json: bool) -> None:
    """Merge two cases of one brand: the matter goes on in the one with the smaller id."""
    if case_id == other:
        raise ConfigurationError(REFUSALS["same_case"])
    elasticsearch = shell.settings.elasticsearch
    winner, loser = (
        place_of(elasticsearch, each, None, None, None) for each in sorted((case_id, other))
    )
    if winner.brand != loser.brand:
        raise ConfigurationError(f"{winner.brand} and {loser.brand} are two brands")
    parts = {
        "target": winner.case_id,
        "into_conversation_id": winner.conversation_id,
        "into_customer_id": winner.customer_id,
    }
    dispatch(shell, "merge", loser, parts, wait=wait, as_json=as_json)
