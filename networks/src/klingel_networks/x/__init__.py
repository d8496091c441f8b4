"""X: filtered stream, recent search, activity webhooks, compliance."""

from dataclasses import replace

from klingel_networks.contract import Endpoint, Family, Network
from klingel_networks.x.charges import UNIT, charges
from klingel_networks.x.mapping import explode, identify, to_social_event
from klingel_networks.x.policy import reply_policy
from klingel_networks.x.replays import replayed

NETWORK = Network(
    name="x",
    explode=explode,
    identify=identify,
    to_social_event=to_social_event,
    reply_policy=reply_policy,
    media_by_id=True,
)
FAMILY = replace(
    Family.of(NETWORK, Endpoint(signature="x", handshake="x")),
    charges=charges,
    unit=UNIT,
    replayed=replayed,
)
