"""What brews in a fault run: a wave of complaints that is one question, and what watch says of it.

One interval of early warning holds the whole wave, and all of it says one sentence, so that the order
in which faults let it arrive decides nothing: which alert it is, who belongs to the incident, and what
is said of both in the end, are the same. (An incident knows its later posts by its first: of matters
that are told in several ways, what came first decides who is recognised.)
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from klingel.contracts.topics import Topic
from klingel.settings import KafkaSettings
from klingel_cli.demo.processes import SOURCE
from klingel_cli.kafka import reading

POSTS: Final = 40
FIRST: Final = 4
"""So many customers ask before anything falls: too few for an alert, too few for an incident, whose name
is the first's."""
INTERVAL: Final = timedelta(minutes=5)
"""Of early warning's counts, from whole multiples since 1970."""
BETWEEN: Final = timedelta(seconds=1.4)
CALM_AGAIN: Final = timedelta(hours=4)
"""Behind the wave: an alert ends after an hour of calm, an incident after its window of two."""
SAYING: Final = (Topic.ALERTS, Topic.INCIDENTS, Topic.ESCALATIONS, Topic.CASE_COMMANDS)

_SAID: Final = (
    "Kein Internet in Kiel seit heute früh, das ist eine Frechheit!",
    "Kein Internet in Kiel seit heute früh, und niemand bei euch sagt etwas. Unmöglich.",
    "Schon wieder kein Internet in Kiel seit heute früh, es reicht mir.",
    "Kein Internet in Kiel seit heute früh, mein Laden steht still. Das ist eine Frechheit!",
    "Ich bin stinksauer: kein Internet in Kiel seit heute früh. Unmöglich.",
)
_MORE: Final = (
    "", " Antwortet endlich!", " Was soll das?", " Einfach nur schlecht.",
    " Das darf nicht wahr sein.", " Nie wieder mit euch.", " Ich warte seit Stunden.", " Peinlich.",
)  # fmt: skip

ORDERED: Final = frozenset({"revision"})
"""What counts the records of one alert or incident: how often it was told on the way."""
ARRIVED: Final = ORDERED | {"samples", "terms"}
"""Of an incident also which of its posts are shown, the first and newest ten that *arrived*, and the
words by which it was found, which follow from the posts that were there when it was."""


def present_of(now: datetime) -> datetime:
    """Return the time of a run that begins now: a minute of an interval has passed, at most six ago."""
    seconds = INTERVAL.total_seconds()
    begin = (now.timestamp() - 60) // seconds * seconds
    return datetime.fromtimestamp(begin + 60, UTC)


def write_wave(path: Path, present: datetime, seed: int) -> None:
    """Write the wave as generic events: different customers, within the minute before `present`."""
    chance = random.Random(seed)
    begin = present - timedelta(minutes=1)
    with path.open("w", encoding="utf-8") as file:
        for number in range(POSTS):
            name = f"wave-{number}"
            event = {
                "id": name,
                "network": "community",
                "kind": "post",
                "change": "created",
                "revision": 0,
                "author": {"id": name, "handle": f"{name}.example", "followers": number},
                "text": chance.choice(_SAID) + chance.choice(_MORE),
                "published_at": (begin + number * BETWEEN).isoformat(),
                "conversation_id": name,
                "lang": "de",
                "visibility": "public",
                "direction": "inbound",
            }
            file.write(json.dumps(event, ensure_ascii=False) + "\n")


def object_ids() -> Iterator[str]:
    """Yield the ids of the wave's posts, as deliveries of the gateway."""
    for number in range(POSTS):
        yield f"webhook:{SOURCE}:wave-{number}"


@dataclass(slots=True)
class Said:
    """What stands in the topics of watch, and of care's escalations.

    Attributes:
        contents: of each id of a record: the different contents, by topic.
        alerts: newest record of each alert.
        incidents: newest record of each incident.
        escalations: newest record of each escalation.
        raised: when the first open record of each alert and incident was written, by its id.
    """

    contents: dict[tuple[Topic, str], set[bytes]] = field(default_factory=lambda: defaultdict(set))
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    incidents: dict[str, dict[str, Any]] = field(default_factory=dict)
    escalations: dict[str, dict[str, Any]] = field(default_factory=dict)
    raised: dict[str, datetime] = field(default_factory=dict)

    @property
    def twice(self) -> list[tuple[Topic, str]]:
        """Return the ids under which more than one content stands."""
        return [place for place, contents in self.contents.items() if len(contents) > 1]

    @property
    def all_ended(self) -> bool:
        """Whether there is an alert and an incident, and all of them have ended."""
        standing = [*self.alerts.values(), *self.incidents.values()]
        return bool(self.alerts and self.incidents) and all(
            each["state"] == "ended" for each in standing
        )


def said(kafka: KafkaSettings) -> Said:
    """Read everything that watch and care have said; raises KafkaError where Kafka is away."""
    found = Said()
    newest: Mapping[Topic, dict[str, dict[str, Any]]] = {
        Topic.ALERTS: found.alerts,
        Topic.INCIDENTS: found.incidents,
        Topic.ESCALATIONS: found.escalations,
    }
    with reading(kafka) as log:
        for topic in SAYING:
            for message in log.read_whole(topic):
                identity = (message.header("ce_id") or b"").decode()
                found.contents[topic, identity].add(message.value or b"")
                if topic in newest and message.key is not None and message.value is not None:
                    key = message.key.decode()
                    newest[topic][key] = json.loads(message.value)
                    at = datetime.fromtimestamp(message.timestamp_ms / 1000, UTC)
                    found.raised.setdefault(key, at)
    return found


def settled(records: Mapping[str, Mapping[str, Any]], without: Iterable[str]) -> dict[str, Any]:
    """Return the newest records without what the way there decides."""
    left_out = frozenset(without)
    return {
        key: {name: value for name, value in record.items() if name not in left_out}
        for key, record in records.items()
    }


def first_words(path: Path) -> tuple[list[bytes], list[bytes]]:
    """Return the deliveries of a wave: those before anything falls, and the others."""
    lines = path.read_bytes().splitlines()
    return lines[:FIRST], lines[FIRST:]
