"""How simulated objects look as generic events (webhook, replay): one JSON object each. Pure."""

import json
from collections import OrderedDict
from typing import Any, Final

from klingel_simulator.atproto import REMEMBERED
from klingel_simulator.traffic import SimulatedObject
from klingel_simulator.truth import to_rfc3339

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_CHANGES: Final = {"create": "created", "update": "updated", "delete": "deleted"}


class GenericRenderer:
    """Renders generic events; a duplicate gives the very bytes of the first delivery.

    ``network`` is the label in the event. Native ids are ``<seed>-<key>``.
    """

    def __init__(self, seed: int, network: str) -> None:
        self._seed = seed
        self._network = network
        self._published: OrderedDict[int, str] = OrderedDict()
        self._rendered: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def native_id(self, key: int) -> str:
        """Compute the source's own id of a thing."""
        return f"{self._seed}-{key}"

    def to_event(self, said: SimulatedObject, now_us: int) -> bytes:
        """Render one delivery as JSON without a line end."""
        place = (said.key, said.revision)
        known = self._rendered.get(place)
        if said.repeated and known is not None:
            return known
        happened = to_rfc3339(now_us - int(said.lag_seconds * 1_000_000))
        event = self._members(said, self._published.setdefault(said.key, happened))
        if said.operation == "update":  # of a deletion, many sources do not tell when
            event["changed_at"] = happened
        encoded = _ENCODER.encode(event).encode("utf-8")
        self._rendered[place] = encoded
        for memory in (self._published, self._rendered):
            if len(memory) > REMEMBERED:
                memory.popitem(last=False)
        return encoded

    def _members(self, said: SimulatedObject, published: str) -> dict[str, Any]:
        native = self.native_id(said.key)
        person = said.person
        event: dict[str, Any] = {
            "id": native,
            "network": self._network,
            "kind": said.kind,
            "change": _CHANGES[said.operation],
            "revision": said.revision,
            "author": {
                "id": person.handle if said.by_brand else person.did.rpartition(":")[2],
                "handle": person.handle,
                "name": person.name,
                "followers": person.followers,
            },
            "text": said.text,
            "published_at": published,
            "conversation_id": self.native_id((said.root or said.ref).key),
            "lang": said.language,
            "visibility": "public",
            "url": f"https://community.example/t/{native}",
        }
        if said.parent is not None:
            event["in_reply_to"] = self.native_id(said.parent.key)
        if said.about is not None:
            event["target"] = self.native_id(said.about.key)
        if said.by_brand:
            event["direction"] = "outbound"
        elif said.addressed:
            event["direction"] = "inbound"
        return event
