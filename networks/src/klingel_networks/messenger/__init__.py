"""Messenger: private messages of Facebook pages, through the Meta family's endpoint."""

from klingel_networks.contract import Network
from klingel_networks.messenger.mapping import explode, identify, to_social_event

NETWORK = Network(
    name="messenger",
    explode=explode,
    identify=identify,
    to_social_event=to_social_event,
    media_by_id=True,
)
