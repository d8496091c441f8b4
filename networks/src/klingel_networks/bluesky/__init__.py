"""Bluesky, through Jetstream."""

from klingel_networks.bluesky.mapping import explode, identify, to_social_event
from klingel_networks.contract import Network

NETWORK = Network(
    name="bluesky", explode=explode, identify=identify, to_social_event=to_social_event
)
