"""The example brand that the simulated public talks to and about."""

from dataclasses import dataclass, fields
from typing import Any, Final

GENERIC_ACCOUNT: Final = "nordlicht"


@dataclass(frozen=True, slots=True)
class Brand:
    """What the traffic model has to know of a brand.

    ``terms`` are the words by which the brand hears a text that does not mention its account;
    each stands in a text as a word of its own. ``did`` and ``handle`` name its Bluesky account,
    ``account`` its account at sources of generic events.
    """

    name: str = "Nordlicht"
    handle: str = "nordlicht.example"
    did: str = "did:plc:nordlichtnordlichtnordli"
    account: str = GENERIC_ACCOUNT
    terms: tuple[str, ...] = ("Nordlicht", "Nordbox", "#nordlicht")
    products: tuple[str, ...] = ("DSL", "Mobilfunk", "TV", "Nordbox")
    competitors: tuple[str, ...] = ("Telefix", "Funkwerk", "Kabelblitz")
    agents: tuple[str, ...] = ("ab", "mk", "jf", "tz")
    cities: tuple[str, ...] = (
        "Kiel",
        "Hamburg",
        "Rostock",
        "Bremen",
        "Leipzig",
        "Köln",
        "Dresden",
        "Lübeck",
    )


def to_brand(description: dict[str, Any]) -> Brand:
    """Turn a JSON object into a brand; absent fields keep the example brand's values.

    Raises ``ValueError`` with one sentence for an unknown field or a wrong type.
    """
    known = {field.name for field in fields(Brand)}
    values: dict[str, Any] = {}
    for name, value in description.items():
        if name not in known:
            raise ValueError(f"brand description: unknown field {name!r}, known: {sorted(known)}")
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            values[name] = tuple(value)
        elif isinstance(value, str) and value:
            values[name] = value
        else:
            raise ValueError(f"brand description: {name!r} must be text or a list of texts")
        if isinstance(getattr(Brand(), name), tuple) is not isinstance(values[name], tuple):
            raise ValueError(f"brand description: {name!r} has the wrong form")
    return Brand(**values)
