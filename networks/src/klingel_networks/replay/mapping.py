"""Recorded deliveries: generic events, or any network's native ones; pure.

The context's `network` names the network whose native deliveries these are; without it, or with
`replay` itself, they are generic events. `source` names the recording.
"""

from collections.abc import Callable, Mapping

from klingel.domain.draft import SocialDraft
from klingel.model import RawEvent
from klingel_networks.contract import Delivery, Identity, NativeObject, Network, Refused
from klingel_networks.generic import draft_generic, explode_generic, identify_generic

NAME = "replay"
MAPPING = "replay/2"

Resolve = Callable[[str], Network]
"""From a network's name to its pure half; raises InvalidMessage for one that is not installed."""


def spoken_network(context: Mapping[str, str]) -> str:
    """Return the network whose mapping reads a recording: its own name, or `replay`."""
    return context.get("network") or NAME


def replay_network(resolve: Resolve) -> Network:
    """Return the network `replay`, which asks `resolve` for the others."""

    def explode(delivery: Delivery) -> list[NativeObject | Refused]:
        name = spoken_network(delivery.context)
        if name == NAME:
            return explode_generic(delivery)
        return resolve(name).explode(delivery)

    def identify(native: bytes, context: Mapping[str, str]) -> Identity:
        name = spoken_network(context)
        if name == NAME:
            return identify_generic(native, context, NAME)
        return resolve(name).identify(native, context)

    def to_social_event(raw: RawEvent) -> SocialDraft:
        name = spoken_network(raw.context or {})
        if name == NAME:
            return draft_generic(raw, NAME, MAPPING)
        return resolve(name).to_social_event(raw)

    return Network(name=NAME, explode=explode, identify=identify, to_social_event=to_social_event)
