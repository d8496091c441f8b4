"""Signed webhooks of generic events, and the contact form."""

from klingel_networks.contract import Network
from klingel_networks.webhook.mapping import explode, identify, to_social_event

NETWORK = Network(
    name="webhook", explode=explode, identify=identify, to_social_event=to_social_event
)
