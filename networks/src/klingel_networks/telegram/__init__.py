"""Telegram: private chats, groups, channels and business chats of a bot."""

from klingel_networks.contract import Endpoint, Family, Network
from klingel_networks.telegram.mapping import explode, identify, to_social_event

NETWORK = Network(
    name="telegram",
    explode=explode,
    identify=identify,
    to_social_event=to_social_event,
    media_by_id=True,
)
FAMILY = Family.of(NETWORK, Endpoint(signature="telegram", limit_bytes=1 << 20))
