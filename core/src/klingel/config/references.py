"""What the parts of a brand file say of one another: who is named exists."""

import re
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from typing import Final

from klingel.config.brand import Brand
from klingel.config.calendars import ALWAYS, DEFAULT_CALENDAR
from klingel.config.escalations import EscalationLevel, Target

Place = tuple[str | int, ...]
Found = Iterator[tuple[Place, str]]
REPEATABLE = ("calendars", "sla", "teams", "targets", "escalation")
"""Lists whose entries have ids that must differ."""
_NETWORK: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_SLIP: Final = 0.8
"""From so much likeness on (`difflib`) a name is another one, misspelt."""


def wrong_references(brand: Brand) -> Found:
    """Yield place and sentence of each part that names something that is not there."""
    yield from _care(brand)
    yield from _levels(brand)
    yield from _teams(brand)
    for number, target in enumerate(brand.targets):
        for path, sentence in _target(target, brand):
            yield ("targets", number, *path), sentence
    targets = [target.id for target in brand.targets]
    for key in ("notify", "incident_notify"):
        named = getattr(brand.alerts, key)
        yield from _unknown(named, targets, "target", ("alerts", key))
    yield from _dormant(brand)


def _dormant(brand: Brand) -> Found:
    """Yield channels of which nothing can ever be heard: nobody would be told of their silence.

    A brand may hear networks that its file does not name, so only what resembles a named one is
    sure to be a slip.
    """
    accounts = {account.network for account in brand.accounts}
    named = sorted(accounts | {channel.network for channel in brand.channels})
    for place in brand.alerts.dormant_after:
        network, colon, channel = place.partition(":")
        path = ("alerts", "dormant_after", place)
        if not _NETWORK.fullmatch(network) or (colon and not channel):
            yield path, "it names no network; write `network` or `network:channel`, such as x"
        elif network not in named and (near := get_close_matches(network, named, 1, _SLIP)):
            yield path, f"the brand has nothing on {network!r}; did you mean {near[0]!r}?"


def _care(brand: Brand) -> Found:
    queues = [queue.id for queue in brand.queues]
    topics = [topic.id for topic in brand.topics]
    for number, rule in enumerate(brand.routing):
        yield from _unknown(rule.topics, topics, "topic", ("routing", number, "topics"))
    for place, queue in (
        (("triage", "praise_queue"), brand.triage.praise_queue),
        (("outreach", "queue"), brand.outreach.queue),
    ):
        if queue is not None:
            yield from _one_unknown(queue, queues, "queue", place)


def _levels(brand: Brand) -> Found:
    queues = [queue.id for queue in brand.queues]
    targets = [target.id for target in brand.targets]
    levels = [level.id for level in brand.escalation]
    rules = [rule.id for rule in brand.routing]
    reached = _reached(brand.escalation)
    for number, level in enumerate(brand.escalation):
        place: Place = ("escalation", number)
        yield from _unknown(level.queues, queues, "queue", (*place, "queues"))
        yield from _unknown(level.notify, targets, "target", (*place, "notify"))
        yield from _unknown(level.rules, rules, "routing rule", (*place, "rules"))
        if level.queue is not None:
            yield from _one_unknown(level.queue, queues, "queue", (*place, "queue"))
        if level.raise_to is not None:
            yield from _one_unknown(level.raise_to, levels, "level", (*place, "raise_to"))
        for path, sentence in _level(level):
            yield (*place, *path), sentence
        if level.id not in reached:
            yield (*place, "on"), "nothing ever brings a case here; name what does under on"


def _reached(levels: Iterable[EscalationLevel]) -> set[str]:
    """Return the levels that something brings a case to, at once or from level to level.

    Levels that raise to each other in a circle are none by that alone. One that something reaches is
    no mistake: each level tells its targets once a case.
    """
    following = {level.id: level.raise_to for level in levels}
    reached = {level.id for level in levels if level.on}
    waiting = [*reached]
    while waiting:
        raised = following.get(waiting.pop())
        if raised is not None and raised not in reached:
            reached.add(raised)
            waiting.append(raised)
    return reached


def _level(level: EscalationLevel) -> Found:
    if (level.raise_after is None) != (level.raise_to is None):
        yield (), "raise_after and raise_to belong together; name both, or neither"
    if level.raise_to == level.id:
        yield ("raise_to",), "it raises to itself; name the level that follows"
    if "rule" in level.on and not level.rules:
        yield ("rules",), "on: [rule] needs the rules; name them under rules"


def _teams(brand: Brand) -> Found:
    queues = [queue.id for queue in brand.queues]
    targets = [target.id for target in brand.targets]
    codes = [agent.code for agent in brand.enrichment.agents]
    for number, team in enumerate(brand.teams):
        yield from _unknown(team.queues, queues, "queue", ("teams", number, "queues"))
        yield from _unknown(team.notify, targets, "target", ("teams", number, "notify"))
        yield from _unknown(team.agents, codes, "agent", ("teams", number, "agents"))


def _target(target: Target, brand: Brand) -> Found:
    if target.kind == "email":
        if not target.to:
            yield ("to",), "an email target needs somebody it goes to; add `to:`"
    elif target.url_setting is None:
        yield ("url_setting",), "missing; name the setting of the notifier that holds the address"
    if target.kind == "webhook" and target.secret_setting is None:
        yield ("secret_setting",), "a webhook is signed; name the setting that holds its secret"
    calendars = [calendar.id for calendar in brand.calendars] or [DEFAULT_CALENDAR.id]
    if target.quiet is not None:
        yield from _one_unknown(target.quiet, [*calendars, ALWAYS], "calendar", ("quiet",))


def _unknown(named: Iterable[str], known: Collection[str], what: str, place: Place) -> Found:
    for number, each in enumerate(named):
        yield from _one_unknown(each, known, what, (*place, number))


def _one_unknown(named: str, known: Collection[str], what: str, place: Place) -> Found:
    if named in known:
        return
    near = get_close_matches(named, known, 1)
    listed = ", ".join(list(known)[:20])
    right = f"did you mean {near[0]!r}?" if near else f"known are {listed}"
    if not known:
        right = f"the file declares no {what}"
    yield place, f"there is no {what} {named!r}; {right}"
