"""The lease on the real Kafka: taken once at a start, and not before its topic is known."""

import asyncio
import uuid

import pytest
from kafka.admin import KafkaAdminClient
from structlog.testing import capture_logs

from klingel.settings import KafkaSettings
from klingel_connectors.lease import Lease

from ..waiting import until

pytestmark = pytest.mark.servers

_SETTLED_SECONDS = 0.7
"""Two polls of the holder: in one of them it would learn that its group is built anew."""


@pytest.fixture
def kafka(kafka_bootstrap, topic_prefix):
    return KafkaSettings(
        bootstrap=kafka_bootstrap, topic_prefix=topic_prefix, group_prefix=topic_prefix
    )


@pytest.mark.parametrize("static", [False, True])
async def test_a_lease_that_nobody_else_wants_is_taken_once(kafka, static):
    """The group is not built anew as soon as its only member knows the topic's partitions."""
    lease = Lease(kafka, "alone", "holder", static=static)
    lease.start()
    try:
        await asyncio.wait_for(lease.held.wait(), 20)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lease.lost.wait(), _SETTLED_SECONDS)
        assert lease.generation == 1
    finally:
        await lease.stop()


async def test_without_its_topic_nobody_joins(kafka_bootstrap):
    """A group that its leader gives nothing would stay so until somebody comes or goes."""
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    kafka = KafkaSettings(bootstrap=kafka_bootstrap, topic_prefix=prefix, group_prefix=prefix)
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    lease = Lease(kafka, "early", "holder")
    with capture_logs() as logs:
        lease.start()
        try:
            await until(lambda: "lease_awaited" in [each["event"] for each in logs], seconds=20)
            groups = [each["group_id"] for each in admin.list_groups()]
            assert f"{prefix}lease-early" not in groups
        finally:
            await lease.stop()
            admin.close()
