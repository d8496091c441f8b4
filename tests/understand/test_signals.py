"""What understand tells watch: one packed record for each batch and brand."""

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import BrandSignals
from klingel.stage.fates import Fate

from ..ringing import generic
from .conftest import Desk


def test_a_batch_tells_its_brands_in_one_record_each(desk: Desk) -> None:
    """Keyed by the brand, with a row for every event that it hears."""
    desk.fates(*[generic(str(n)) for n in range(5)])
    (message,) = desk.broker.messages(Topic.BRAND_SIGNALS)
    signals = codec.decode(BrandSignals, message.value)
    assert message.key == signals.brand.encode()
    assert [row.event_id for row in signals.rows] == [each.event_id for each in desk.social()]
    assert dict(message.headers)["ce_type"] == b"klingel.brand-signals.v1"


def test_what_nobody_hears_tells_nobody(desk: Desk) -> None:
    """No empty records."""
    desk.fates(generic("1", "nothing of interest"))
    assert not desk.broker.messages(Topic.BRAND_SIGNALS)


def test_a_duplicate_is_told_once(desk: Desk) -> None:
    """The second delivery of the same content is discarded before."""
    fates = desk.fates(generic("1"), generic("1"))
    assert [fate for fate, _ in fates] == [Fate.DELIVERED, Fate.DISCARDED]
    (message,) = desk.broker.messages(Topic.BRAND_SIGNALS)
    assert len(codec.decode(BrandSignals, message.value).rows) == 1
