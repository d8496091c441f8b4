"""What the benchmark rings with: real texts in the fixed mix of the budgets, as generic events.

Of all lines 2 % are duplicates, 3 % edits and 2 % deletions; the rest are new posts. A fifth of the
posts opens or changes a case: half of these open one, three tenths are a further word of its
customer, two tenths the brand's answer. Everything is heard: by words, and by a rule that hits all.
"""

import gzip
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BRAND = "carrier"
ACCOUNT = "carrier"
SOURCE = "bench"
"""All rounds ring under this name: an account is one of a source."""
DUPLICATES, EDITS, DELETIONS = 0.02, 0.03, 0.02
CASE_SHARE = 0.204
"""Of the posts: with the edits and deletions that meet these, 20 % of the lines touch a case."""
OPENERS, JOINERS = 0.5, 0.8
RECENT = 2_000
"""A further word, an answer, an edit or a copy comes at most about so many lines later."""
LONGEST_TEXT = 20_000

_WORDS = (
    "delay* OR late OR waiting",
    "luggage OR baggage OR suitcase OR koffer",
    '"customer service" OR kundenservice OR support',
    "refund* OR erstattung OR money",
    "cancel* OR storniert OR abgesagt",
    "bahn OR zug OR züge OR verspätung*",
    "flight OR flug OR plane OR airport",
    "thanks OR thank OR danke",
    "phone OR hotline OR call",
    "(bad OR awful OR terrible OR schlecht) AND NOT joke",
    "card AND (lost OR stolen OR arrive*)",
    "app OR website OR login OR password",
    "bill* OR rechnung* OR charged",
    '"never again" OR "nie wieder"',
    "seat* OR sitz*",
    "united OR delta OR southwest* OR american* OR jetblue OR virgin*",
    "amazon* OR apple* OR spotify* OR uber*",
    "weather OR wetter OR storm OR sturm",
    "hotel OR travel OR reise*",
    "game OR spiel OR match",
)
_ROUTES = (
    ("luggage", "bag* OR luggage OR koffer", "luggage", 20),
    ("money", "refund* OR bill* OR charged OR rechnung* OR erstattung", "billing", 20),
    ("delays", "delay* OR late OR cancel* OR verspätung*", "operations", 30),
    ("reach", "followers:>=50000", "reach", 30),
    ("thanks", "thanks OR thank OR danke", "praise", 0),
)


class NoTextsError(Exception):
    """The real texts are not beside the checkout."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is in the index once a round is through: documents by their last change."""

    created: int
    updated: int
    deleted: int

    def plus(self, other: "Expected") -> "Expected":
        """Return both together."""
        return Expected(
            self.created + other.created,
            self.updated + other.updated,
            self.deleted + other.deleted,
        )

    def met_by(self, found: Mapping[str, int]) -> bool:
        """Whether an index with so many documents by change holds everything."""
        return all(
            found.get(change, 0) >= count
            for change, count in (
                ("created", self.created),
                ("updated", self.updated),
                ("deleted", self.deleted),
            )
        )


@dataclass(frozen=True, slots=True)
class Round:
    """A recording on disk.

    Attributes:
        path: NDJSON of generic events.
        lines: how many.
        expected: what it leaves in the index.
    """

    path: Path
    lines: int
    expected: Expected


def real_texts(data: Path, seed: int) -> list[str]:
    """Return every text of the sets beside the checkout, shuffled.

    Raises:
        NoTextsError: there are none.
    """
    texts = []
    for path in sorted(data.glob("*/text/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                text = json.loads(line)["text"]
                if isinstance(text, str) and _can_be_said(text):
                    texts.append(text)
    if not texts:
        raise NoTextsError("the real texts (../shared/data/*/text) are not beside this checkout")
    random.Random(seed).shuffle(texts)
    return texts


def _can_be_said(text: str) -> bool:
    """Whether every network could deliver it: not empty, no NUL, no lone surrogate."""
    if not text.strip() or "\x00" in text or len(text) > LONGEST_TEXT:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in text)


def brand_file(model: str = "none") -> str:
    """Return a brand that hears everything, and opens cases only for what is said to it.

    Args:
        model: what reads the texts.
    """
    rules = [{"id": f"words-{at}", "query": query} for at, query in enumerate(_WORDS)]
    queues = ("service", "luggage", "billing", "operations", "reach", "praise")
    return json.dumps(
        {
            "brand": BRAND,
            "enrichment": {"model": model},
            "name": "Carrier",
            "accounts": [{"network": "replay", "id": f"{SOURCE}:{ACCOUNT}"}],
            "listening": [*rules, {"id": "all", "query": "followers:>=0"}],
            "triage": {"open_indirect": False},
            "queues": [{"id": queue} for queue in queues],
            "routing": [
                {"id": name, "when": when, "queue": queue, "priority": priority}
                for name, when, queue, priority in _ROUTES
            ],
            "cases": {"close_when": "never"},
        }
    )


class Mix:
    """Writes rounds; texts are used in turn over all of them.

    Args:
        texts: real ones.
        seed: same seed, same lines, but for the time of writing.
    """

    def __init__(self, texts: Sequence[str], seed: int) -> None:
        self._texts = texts
        self._next = 0
        self._chance = random.Random(seed)

    def write(self, path: Path, name: str, lines: int) -> Round:
        """Write a recording of so many lines whose ids begin with `name`."""
        script = _Script(name, self._chance, self._text)
        with path.open("w", encoding="utf-8") as file:
            for event in script.events(lines):
                file.write(json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n")
        return Round(path, lines, script.expected())

    def _text(self) -> str:
        text = self._texts[self._next % len(self._texts)]
        self._next += 1
        return text


class _Script:
    """One round: what has been said so far, and what may still be said about it."""

    def __init__(self, name: str, chance: random.Random, text: Any) -> None:
        self._name = name
        self._chance = chance
        self._text = text
        self._said: list[dict[str, Any]] = []
        self._openers: list[dict[str, Any]] = []
        self._touched: dict[str, str] = {}
        self._now = datetime.now(UTC) - timedelta(minutes=5)

    def events(self, lines: int) -> Iterator[dict[str, Any]]:
        """Yield the lines."""
        for at in range(lines):
            share = self._chance.random()
            if at < 50 or share >= DUPLICATES + EDITS + DELETIONS:
                event = self._post(at)
            elif share < DUPLICATES:
                event = self._untouched() or self._post(at)
            elif share < DUPLICATES + EDITS:
                event = self._edit() or self._post(at)
            else:
                event = self._deletion() or self._post(at)
            yield event

    def expected(self) -> Expected:
        """Return what the lines so far leave in the index."""
        changes = [*self._touched.values()]
        updated, deleted = changes.count("updated"), changes.count("deleted")
        return Expected(len(self._said) - updated - deleted, updated, deleted)

    def _recent(self, events: list[dict[str, Any]]) -> dict[str, Any] | None:
        if not events:
            return None
        oldest = max(0, len(events) - RECENT)
        return events[self._chance.randrange(oldest, len(events))]

    def _untouched(self) -> dict[str, Any] | None:
        event = self._recent(self._said)
        return None if event is None or event["id"] in self._touched else event

    def _post(self, at: int) -> dict[str, Any]:
        chance = self._chance
        author = f"u{chance.randrange(50_000)}"
        event: dict[str, Any] = {
            "id": f"{self._name}-{at}",
            "network": "microblog",
            "author": {
                "id": author,
                "handle": f"{author}.example",
                "name": f"Person {author}",
                "followers": int(chance.paretovariate(0.6)) % 2_000_000,
            },
            "text": self._text(),
            "published_at": (self._now + timedelta(milliseconds=at)).isoformat(),
            "url": f"https://microblog.example/{author}/{at}",
            "metrics": {"likes": chance.randrange(40), "reposts": chance.randrange(9)},
        }
        if chance.random() < CASE_SHARE:
            self._address(event)
        self._said.append(event)
        return event

    def _address(self, event: dict[str, Any]) -> None:
        """Make it one that touches a case."""
        share = self._chance.random()
        opener = None if share < OPENERS else self._recent(self._openers)
        if opener is None:
            event["target"] = ACCOUNT
            event["conversation_id"] = event["id"]
            self._openers.append(event)
            return
        event["conversation_id"] = opener["id"]
        event["in_reply_to"] = opener["id"]
        if share < JOINERS:
            event["author"] = opener["author"]
            event["target"] = ACCOUNT
        else:
            event["author"] = {"id": ACCOUNT, "name": "Carrier", "followers": 100_000}

    def _edit(self) -> dict[str, Any] | None:
        known = self._untouched()
        if known is None:
            return None
        self._touched[known["id"]] = "updated"
        return {**known, "change": "updated", "revision": 1, "text": known["text"] + " (edited)"}

    def _deletion(self) -> dict[str, Any] | None:
        known = self._untouched()
        if known is None:
            return None
        self._touched[known["id"]] = "deleted"
        return {"id": known["id"], "network": known["network"], "change": "deleted"}
