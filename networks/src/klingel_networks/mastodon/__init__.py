"""Mastodon and what speaks its interface."""

from klingel_networks.contract import Network
from klingel_networks.mastodon.mapping import explode, identify, to_social_event

NETWORK = Network(
    name="mastodon", explode=explode, identify=identify, to_social_event=to_social_event
)
