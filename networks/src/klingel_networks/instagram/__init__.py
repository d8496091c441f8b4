"""Instagram: comments, mentions, stories and messages of professional accounts."""

from klingel_networks.contract import Network
from klingel_networks.instagram.mapping import explode, identify, to_social_event

NETWORK = Network(
    name="instagram",
    explode=explode,
    identify=identify,
    to_social_event=to_social_event,
    media_by_id=True,
)
