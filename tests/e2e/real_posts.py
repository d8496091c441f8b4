"""Real posts as generic events: the airlines' and the support conversations, from ../shared/data."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

AIRLINES = ("united", "usairways", "americanair", "southwestair", "delta", "virginamerica")
UNDATED = datetime(2015, 2, 20, 12, 0, tzinfo=UTC)
"""For the 105 airline posts whose date no copy of the set has."""


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def airline_events(texts: Path) -> Iterator[dict[str, Any]]:
    """Yield the airline posts, each addressed to its airline."""
    for row in _rows(texts / "airline_us_sentiment.jsonl.gz"):
        yield {
            "id": f"air-{row['id']}",
            "network": "twitter",
            "author": {"id": row["meta"]["author"] or "unknown"},
            "text": row["text"],
            "published_at": _airline_time(row["meta"].get("created_at")),
            "target": "airlines",
        }


def _airline_time(said: str | None) -> str:
    try:
        return datetime.strptime(said or "", "%Y-%m-%d %H:%M:%S %z").astimezone(UTC).isoformat()
    except ValueError:
        return UNDATED.isoformat()


def support_events(texts: Path) -> Iterator[dict[str, Any]]:
    """Yield the support posts with their conversation: the topmost known ancestor."""
    rows = {
        row["id"]: row
        for name in ("twcs_threads", "twcs_random_sample")
        for row in _rows(texts / f"{name}.jsonl.gz")
    }
    for identity, row in rows.items():
        meta = row["meta"]
        event = {
            "id": f"sup-{identity}",
            "network": "twitter",
            "author": {"id": meta["author"]},
            "text": row["text"],
            "published_at": datetime.strptime(
                meta["created_at"], "%a %b %d %H:%M:%S %z %Y"
            ).isoformat(),
            "conversation_id": f"sup-{_root(identity, rows)}",
            "direction": "inbound" if meta["inbound"] else "outbound",
        }
        if meta.get("in_reply_to"):
            event["in_reply_to"] = f"sup-{meta['in_reply_to']}"
        yield event


def _root(identity: str, rows: dict[str, dict[str, Any]]) -> str:
    seen = {identity}
    while (parent := rows.get(identity, {}).get("meta", {}).get("in_reply_to")) not in {
        None,
        *seen,
    }:
        identity = parent
        seen.add(parent)
    return identity


def brand_file() -> str:
    """A brand that hears all of it."""
    return json.dumps(
        {
            "brand": "carrier",
            "name": "Carrier",
            "accounts": [{"network": "replay", "id": "posts:airlines"}],
            "channels": [{"network": "replay", "id": "posts"}],
            "listening": [{"id": "airlines", "query": " OR ".join(AIRLINES)}],
            "queues": [{"id": "support"}, {"id": "luggage"}],
            "routing": [{"id": "luggage", "when": "bag* OR luggage", "queue": "luggage"}],
        }
    )
