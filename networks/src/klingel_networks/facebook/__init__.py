"""Facebook pages: feed, comments, reactions, mentions and ratings."""

from klingel_networks.contract import Network
from klingel_networks.facebook.mapping import explode, identify, to_social_event

NETWORK = Network(
    name="facebook",
    explode=explode,
    identify=identify,
    to_social_event=to_social_event,
    media_by_id=True,
)
