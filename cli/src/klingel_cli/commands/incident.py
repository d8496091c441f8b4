"""`klingel incident`: many customers with one question, and the end of all their cases at once."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import click

from klingel.domain.identity import deterministic_id
from klingel.errors import ConfigurationError
from klingel.model import CaseCommand
from klingel_cli.casework import (
    Json,
    Place,
    command_of,
    give,
    members,
    printable,
    read_incident,
    search,
    since,
)
from klingel_cli.commands.config import who
from klingel_cli.shell import FOUND_WRONG, Failure, Seconds, Shell, as_json, pass_shell

_PAUSE_SECONDS = 2.0
_SHOWN = (
    "incident_id",
    "brand",
    "kind",
    "lang",
    "state",
    "opened_at",
    "updated_at",
    "ended_at",
    "count",
    "authors",
    "growth_per_hour",
)
_LOOKS = 2
"""How often nobody may be found open in a row before it is believed: the index lags behind."""


@click.group("incident")
def incident_group() -> None:
    """See incidents, and close all their cases at once."""


@incident_group.command("list")
@click.option("--brand", help="Only this brand's.")
@click.option("--ended", is_flag=True, help="Those that are over, too.")
@click.option("--size", type=click.IntRange(1, 10_000), default=50, help="At most; 50 by default.")
@as_json
@pass_shell
def list_incidents(
    shell: Shell, brand: str | None, size: int, *, ended: bool, as_json: bool
) -> None:
    """List incidents, the newest first."""
    asked: list[Json] = [] if ended else [{"term": {"state": "open"}}]
    if brand is not None:
        asked.append({"term": {"brand": brand}})
    hits = search(
        shell.settings.elasticsearch,
        "incidents-*",
        {
            "query": {"bool": {"filter": asked}},
            "size": size,
            "track_total_hits": True,
            "sort": [{"updated_at": {"order": "desc", "unmapped_type": "date"}}],
        },
        expected=True,
    )["hits"]
    found = [hit["_source"] for hit in hits["hits"]]
    if as_json:
        for source in found:
            shell.tell(source)
        return
    now = shell.now()
    shell.table(
        ("brand", "state", "#posts", "#authors", "last", "terms", "incident"),
        [
            (
                each["brand"],
                each["state"],
                each["count"],
                each["authors"],
                since(datetime.fromisoformat(each["updated_at"]), now),
                _terms(each),
                each["incident_id"],
            )
            for each in found
        ],
    )
    shell.say(f"\n{len(found)} of {hits['total']['value']:,} incidents")


def _terms(incident: Json) -> str:
    return ", ".join(each["term"] for each in (incident.get("terms") or ())[:5])


brand_option = click.option("--brand", required=True, help="Whose incident it is.")
identity = click.argument("incident_id", metavar="INCIDENT_ID")


@incident_group.command("show")
@identity
@brand_option
@as_json
@pass_shell
def show_incident(shell: Shell, incident_id: str, brand: str, *, as_json: bool) -> None:
    """Show an incident, and how its cases stand. Exit 1 when there is no such incident."""
    incident = _read(shell, brand, incident_id)
    states = _states(shell, brand, incident_id)
    if as_json:
        shell.tell({"incident": incident, "cases": states})
        return
    told = ", ".join(f"{count:,} {state}" for state, count in states.items())
    rows: list[tuple[str, object]] = [
        *((name, incident.get(name)) for name in _SHOWN),
        ("terms", _terms(incident)),
        *((name, ", ".join(incident.get(name) or ())) for name in ("intents", "topics")),
        ("cases", told or "none"),
        *(("post", post) for post in incident.get("samples") or ()),
    ]
    for name, value in rows:
        if value not in {None, ""}:
            shell.say(f"{name:16} {printable(value)}")


def _read(shell: Shell, brand: str, incident_id: str) -> Json:
    incident = read_incident(shell.settings.elasticsearch, brand, incident_id)
    if incident is None:
        raise Failure("no such incident is indexed; see klingel incident list", FOUND_WRONG)
    return incident


def _states(shell: Shell, brand: str, incident_id: str) -> dict[str, int]:
    """Return how many cases of an incident are in each state."""
    answer = search(
        shell.settings.elasticsearch,
        f"cases-{brand}",
        {
            "query": {"term": {"incident": incident_id}},
            "size": 0,
            "aggs": {"states": {"terms": {"field": "state"}}},
        },
    )
    buckets = (answer.get("aggregations") or {}).get("states", {}).get("buckets", [])
    return {bucket["key"]: bucket["doc_count"] for bucket in buckets}


class Closing(NamedTuple):
    """How far the cases of an incident are closed.

    Attributes:
        commands: how many were given.
        rounds: how often open cases were looked for.
        left: how many were open when it was given up; 0 where all are closed.
    """

    commands: int
    rounds: int
    left: int


@incident_group.command("close")
@identity
@brand_option
@click.option(
    "--within",
    type=Seconds(1, 3600),
    default=120,
    help="Give up after so many seconds; 120 by default.",
)
@as_json
@pass_shell
def close_incident(
    shell: Shell, incident_id: str, brand: str, within: float, *, as_json: bool
) -> None:
    """Close every case of an incident, those too that join meanwhile, until none is open.

    What was answered in public counts as the answer of each case. Exit 1 when some are open still.
    """
    _read(shell, brand, incident_id)
    settings, by = shell.settings, who()

    def open_cases() -> list[CaseCommand]:
        now = shell.now()
        return [
            closing_of(brand, incident_id, *member, by=by, at=now)
            for member in members(settings.elasticsearch, brand, incident_id)
        ]

    def told(line: str) -> None:
        if not as_json:
            shell.say(line)

    deadline = time.monotonic() + within
    closing = close_all(
        open_cases,
        lambda commands: give(settings.kafka, commands),
        lambda: _goes_on(deadline),
        told,
    )
    if as_json:
        shell.tell({"incident_id": incident_id, "brand": brand, **closing._asdict()})
    elif not closing.left:
        shell.say(f"no case of the incident is open; {closing.commands:,} commands were given")
    if closing.left:
        if as_json:
            shell.found_wrong()
        raise Failure(
            f"{closing.left:,} cases are open still after {within:g} s; "
            "see klingel status, then say it again",
            FOUND_WRONG,
        )


def closing_of(
    brand: str,
    incident_id: str,
    case_id: str,
    conversation_id: str,
    revision: int,
    *,
    by: str,
    at: datetime,
) -> CaseCommand:
    """Return the command that closes one case of an incident.

    Its id is the same for the same revision of the case: given twice, it is taken once; a case that
    its customer opened again is closed again.
    """
    if not incident_id:
        raise ConfigurationError("name the incident")
    return command_of(
        "incident_closed",
        Place(brand, conversation_id, case_id, None),
        by,
        at,
        command_id=deterministic_id("incident_closed", incident_id, case_id, str(revision)),
        target=incident_id,
    )


def close_all(
    open_cases: Callable[[], list[CaseCommand]],
    give_all: Callable[[list[CaseCommand]], None],
    goes_on: Callable[[], bool],
    told: Callable[[str], None],
) -> Closing:
    """Close whatever is open until nothing is.

    Args:
        open_cases: looks for open cases, and returns the command that would close each.
        give_all: gives commands.
        goes_on: waits a little; False once the time is up.
        told: is told of each round in which commands were given.
    """
    given: set[str] = set()
    rounds = empty = left = 0
    while True:
        commands = open_cases()
        rounds, left = rounds + 1, len(commands)
        new = [command for command in commands if command.command_id not in given]
        if new:
            give_all(new)
            given.update(command.command_id for command in new)
            told(f"{left:,} cases are open; {len(new):,} commands are given")
        empty = 0 if commands else empty + 1
        if empty >= _LOOKS or not goes_on():
            return Closing(len(given), rounds, left)


def _goes_on(deadline: float) -> bool:
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    time.sleep(min(left, _PAUSE_SECONDS))
    return True
