"""The public: people computed from (seed, number), never stored."""

import hashlib
from base64 import b32encode
from dataclasses import dataclass
from typing import Final

_FIRST: Final = (
    "anna",
    "ben",
    "clara",
    "david",
    "emma",
    "finn",
    "greta",
    "hannes",
    "ida",
    "jan",
    "katja",
    "lars",
    "mia",
    "nils",
    "olga",
    "paul",
    "rosa",
    "sven",
    "tina",
    "uwe",
    "vera",
    "willi",
    "yara",
    "zoe",
    "alice",
    "bob",
    "carol",
    "dan",
    "erin",
    "frank",
    "grace",
    "heidi",
)
_LAST: Final = (
    "schmidt",
    "mueller",
    "fischer",
    "weber",
    "wagner",
    "becker",
    "koch",
    "richter",
    "klein",
    "wolf",
    "neumann",
    "schwarz",
    "krueger",
    "hofmann",
    "lange",
    "smith",
    "jones",
    "taylor",
    "brown",
    "wilson",
    "evans",
    "walker",
    "wright",
    "hall",
    "green",
)


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who writes; ``did`` is a well-formed, invented ``did:plc``."""

    number: int
    did: str
    handle: str
    name: str
    language: str
    followers: int


def to_person(seed: int, number: int) -> Person:
    """Compute person ``number`` of the public that belongs to ``seed``."""
    digest = hashlib.sha256(f"{seed}/person/{number}".encode()).digest()
    first = _FIRST[digest[0] % len(_FIRST)]
    last = _LAST[digest[1] % len(_LAST)]
    # the square of a square: few are read by many
    reach = (digest[2] / 255) ** 8
    return Person(
        number=number,
        did="did:plc:" + b32encode(digest[:15]).decode("ascii").lower(),
        handle=f"{first}-{last}-{number}.example",
        name=f"{first.capitalize()} {last.capitalize()}",
        language="de" if digest[3] < 180 else "en",
        followers=int(reach * 250_000) + digest[4],
    )
