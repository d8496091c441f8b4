"""Mailboxes, read over IMAP."""

from klingel_networks.contract import Network
from klingel_networks.email.mapping import explode, identify, to_social_event

NETWORK = Network(
    name="email",
    explode=explode,
    identify=identify,
    to_social_event=to_social_event,
    native="bytes",
)
