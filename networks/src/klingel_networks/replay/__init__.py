"""Recorded deliveries, rung again."""

from klingel_networks.registry import installed_network
from klingel_networks.replay.mapping import replay_network

NETWORK = replay_network(installed_network)
