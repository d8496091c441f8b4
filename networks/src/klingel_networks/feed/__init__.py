"""Feeds: RSS, Atom, RDF, CDF and JSON Feed, polled or pushed by WebSub."""

from klingel_networks.contract import Endpoint, Family, Network
from klingel_networks.feed.mapping import explode, identify, to_social_event

NETWORK = Network(
    name="feed",
    explode=explode,
    identify=identify,
    to_social_event=to_social_event,
    native="bytes",
)
FAMILY = Family.of(NETWORK, Endpoint(signature="websub", handshake="websub", limit_bytes=8 << 20))
