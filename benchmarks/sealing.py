"""What it would cost to seal words and authors with a key for each object (ADR 0010).

    pip install cryptography; python benchmarks/sealing.py [--data FOLDER] [--keys 1000000]

Posts of real texts, as `social-events` carries them, plain and with everything of a person (texts,
author, mentions, hashtags, link targets) sealed by AES-128-GCM under a key of the post's own. Told
are, of each event: microseconds to seal and to unseal beside those to encode and to decode; to find
the key in a table like the directory's; and bytes, alone and as Kafka keeps them (batches of 200,
zstd). Nothing of klingel seals anything: this is the figure behind the decision.
"""

import argparse
import base64
import gzip
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import zstandard
from rocksdict import Options, Rdict

from klingel.contracts import codec
from klingel.model import SocialEvent
from klingel.testing.conversations import said

try:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:
    sys.exit("This benchmark alone needs cryptography: pip install cryptography")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SEED = 20261123
BATCH = 200
EVENTS = 20_000
SEALED = ("text", "author", "mentions", "hashtags", "links")


def events(data: Path) -> list[SocialEvent]:
    """Return events of real posts."""
    rows: list[str] = []
    for path in sorted((data / "permissive" / "text").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows += [text for line in lines if (text := json.loads(line).get("text"))]
    random.Random(SEED).shuffle(rows)
    return [
        said(f"post-{number}", f"author-{number % 5000}", number / 60, text=text)
        for number, text in enumerate(rows[:EVENTS])
    ]


def sealed(event: SocialEvent, key: bytes) -> bytes:
    """Return an event's bytes with what is of a person sealed."""
    whole = msgspec.to_builtins(event)
    inner = {name: whole.pop(name) for name in SEALED if name in whole}
    nonce = os.urandom(12)
    secret = AESGCM(key).encrypt(nonce, msgspec.json.encode(inner), event.object_id.encode())
    whole["sealed"] = base64.b64encode(nonce + secret).decode()
    return msgspec.json.encode(whole)


def unsealed(value: bytes, key: bytes) -> SocialEvent:
    """Return what `sealed` was given."""
    whole = msgspec.json.decode(value)
    secret = base64.b64decode(whole.pop("sealed"))
    opened = AESGCM(key).decrypt(secret[:12], secret[12:], whole["object_id"].encode())
    return msgspec.convert(whole | msgspec.json.decode(opened), SocialEvent)


def cost(call: Callable[[int], object], count: int, rounds: int = 5) -> float:
    """Return microseconds a call: the median of the rounds."""
    found = []
    for _ in range(rounds):
        start = time.thread_time()
        for number in range(count):
            call(number)
        found.append((time.thread_time() - start) / count * 1e6)
    return statistics.median(found)


def compressed(values: Sequence[bytes]) -> float:
    """Return the bytes of a value as they lie in Kafka."""
    pack = zstandard.ZstdCompressor(level=3).compress
    batches = [b"".join(values[at : at + BATCH]) for at in range(0, len(values), BATCH)]
    return sum(len(pack(batch)) for batch in batches) / len(values)


def look_up(keys: int) -> float:
    """Return microseconds to find a key of 16 bytes among so many, on a disk that is warm."""
    with tempfile.TemporaryDirectory() as folder:
        table = Rdict(folder, Options(raw_mode=True))
        for number in range(keys):
            table[b"bluesky:network:post-%d" % number] = number.to_bytes(16, "big")
        table.flush()
        chance = random.Random(SEED)
        asked = [b"bluesky:network:post-%d" % chance.randrange(keys) for _ in range(20_000)]
        found = cost(lambda number: table[asked[number]], len(asked))
        table.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real data")
    parser.add_argument("--keys", type=int, default=1_000_000, help="in the table")
    arguments = parser.parse_args()
    posts = events(arguments.data)
    if not posts:
        sys.exit(f"There are no real data in {arguments.data}: name their folder with --data.")
    keys = [number.to_bytes(16, "big") for number in range(len(posts))]
    plain = [codec.encode(post) for post in posts]
    closed = [sealed(post, key) for post, key in zip(posts, keys, strict=True)]
    assert unsealed(closed[0], keys[0]) == posts[0]
    decode = msgspec.json.Decoder(SocialEvent).decode
    rows = {
        "µs to encode": cost(lambda number: codec.encode(posts[number]), len(posts)),
        "µs to encode and seal": cost(
            lambda number: sealed(posts[number], keys[number]), len(posts)
        ),
        "µs to decode": cost(lambda number: decode(plain[number]), len(posts)),
        "µs to decode and unseal": cost(
            lambda number: unsealed(closed[number], keys[number]), len(posts)
        ),
        f"µs to find a key among {arguments.keys:,}": look_up(arguments.keys),
        "bytes plain": statistics.fmean(map(len, plain)),
        "bytes sealed": statistics.fmean(map(len, closed)),
        "bytes plain, as Kafka keeps them": compressed(plain),
        "bytes sealed, as Kafka keeps them": compressed(closed),
    }
    for name, value in rows.items():
        sys.stdout.write(f"{value:10.1f}  {name}\n")


if __name__ == "__main__":
    main()
