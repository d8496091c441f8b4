"""What a post of X costs: from a line of the stream to its raw event's identity and its draft.

    python benchmarks/x_mapping.py [--json]

The lines are the recorded posts of the v2 archives with their includes, as the stream would send them
(one object a line) and as pages (up to 100). Times are CPU time a post, the best of five passes:
explode and identify, as a connector does, and to_social_event, as a processor does. Exit code 1 above
30 µs in all.
"""

import argparse
import json
import sys
import tarfile
import time
from pathlib import Path

from klingel.model import RawEvent
from klingel_networks.contract import Delivery, NativeObject
from klingel_networks.mapped import raw_event
from klingel_networks.x import NETWORK

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "permissive" / "payloads"
GATE = 30.0
PASSES = 5


def pages() -> list[dict[str, object]]:
    """Return the recorded answers that hold posts."""
    found = []
    with tarfile.open(DATA / "x_v2_twarc_csv.tar.gz") as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            for line in () if file is None else file.read().splitlines():
                try:
                    tree = json.loads(line)
                except ValueError:
                    continue
                data = tree["data"] if isinstance(tree["data"], list) else [tree["data"]]
                if "text" in data[0]:
                    found.append({"data": data, "includes": tree.get("includes", {})})
    return found


def as_line(post: dict[str, object], includes: dict[str, list[dict[str, object]]]) -> bytes:
    """Return a post as the stream sends it: with the includes that belong to it."""
    references = post.get("referenced_tweets") or []
    wanted = {each["id"] for each in references}  # type: ignore[index, attr-defined]  # recorded JSON
    keys = set(post.get("attachments", {}).get("media_keys", []))  # type: ignore[attr-defined]  # recorded JSON
    told = {
        "users": [each for each in includes.get("users", []) if each["id"] == post["author_id"]],
        "tweets": [each for each in includes.get("tweets", []) if each["id"] in wanted],
        "media": [each for each in includes.get("media", []) if each["media_key"] in keys],
    }
    line = {"data": post, "includes": {name: value for name, value in told.items() if value}}
    line["matching_rules"] = [{"id": "1166895166390583299", "tag": "klingel/nordlicht/name"}]  # type: ignore[assignment]  # recorded JSON
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode()


def measure(bodies: list[bytes]) -> tuple[int, float, float]:
    """Return how many posts there are, and the microseconds a post of the two steps."""
    first = second = float("inf")
    raws: list[RawEvent] = []
    for _ in range(PASSES):
        began = time.process_time()
        found = [
            (piece, NETWORK.identify(piece.native, piece.context))
            for body in bodies
            for piece in NETWORK.explode(Delivery(body))
            if isinstance(piece, NativeObject)
        ]
        first = min(first, time.process_time() - began)
        raws = [raw_event("x", piece, identity) for piece, identity in found]
        began = time.process_time()
        for raw in raws:
            NETWORK.to_social_event(raw)
        second = min(second, time.process_time() - began)
    return len(raws), first / len(raws) * 1e6, second / len(raws) * 1e6


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    recorded = pages()
    lines = [as_line(post, page["includes"]) for page in recorded for post in page["data"]]  # type: ignore[arg-type, attr-defined]  # recorded JSON
    whole = [json.dumps(page, ensure_ascii=False).encode() for page in recorded]
    worst = 0.0
    for name, bodies in (("lines of the stream", lines), ("pages", whole)):
        posts, hearing, mapping = measure(bodies)
        worst = max(worst, hearing + mapping)
        size = sum(map(len, bodies)) / posts
        told = {
            "what": name,
            "posts": posts,
            "bytes_a_post": round(size),
            "explode_identify_us": round(hearing, 1),
            "to_social_event_us": round(mapping, 1),
            "all_us": round(hearing + mapping, 1),
        }
        if as_json:
            print(json.dumps(told))
        else:
            print(
                f"{name}: {posts} posts of {size:,.0f} bytes, {hearing:.1f} + {mapping:.1f} = "
                f"{hearing + mapping:.1f} µs a post (gate {GATE:.0f})"
            )
    return int(worst > GATE)


if __name__ == "__main__":
    sys.exit(main())
