"""X: filtered stream, recent search, activity webhooks, compliance."""

from klingel_networks.contract import Endpoint, Family, Network
from klingel_networks.x.mapping import explode, identify, to_social_event

NETWORK = Network(name="x", explode=explode, identify=identify, to_social_event=to_social_event)
FAMILY = Family.of(NETWORK, Endpoint(signature="x", handshake="x"))
