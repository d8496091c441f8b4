"""The Meta family: Facebook, Instagram, Messenger and WhatsApp behind one webhook endpoint."""

from klingel_networks.contract import Delivery, Endpoint, Family
from klingel_networks.meta import envelope
from klingel_networks.meta.deletion import DELETION, deauthorize, deletion, explode_deletion


def explode(delivery: Delivery) -> list[envelope.Piece]:
    """Return every object of a delivery of the family with its network; raises InvalidMessage."""
    if delivery.context.get(envelope.VIA) == DELETION:
        return [(envelope.FACEBOOK, piece) for piece in explode_deletion(delivery)]
    return envelope.explode(delivery)


FAMILY = Family(
    name="meta",
    networks=envelope.NETWORKS,
    endpoint=Endpoint(signature="meta", handshake="meta"),
    explode=explode,
    callbacks={"deletion": deletion, "deauthorize": deauthorize},
    hashes=True,
)
