"""The publisher bounds what is in flight, waits for Kafka and drops nothing."""

import asyncio

import pytest
from kafka import errors as kafka_errors

from klingel.contracts.envelope import Output
from klingel.contracts.partition import partition_for
from klingel.contracts.topics import Topic
from klingel.errors import ErrorType, InvalidMessage
from klingel.testing.clock import FixedClock
from klingel_connectors.publisher import HEADER_BYTES, Bounds
from klingel_connectors.testing import RecordingProducer


def output(number, size=10, **more):
    return Output(Topic.RAW_EVENTS, f"k{number}".encode(), b"x" * size, (("h", b"1"),), **more)


async def test_records_are_acknowledged_once_each(make_publisher, producer):
    publisher = make_publisher(producer)
    await publisher.start()
    seen = []
    for number in range(100):
        await publisher.publish(output(number), lambda error, at=number: seen.append((at, error)))
    assert await publisher.flush(5)
    assert sorted(seen) == [(number, None) for number in range(100)]
    assert (publisher.in_flight, publisher.in_flight_bytes, publisher.acknowledged) == (0, 0, 100)


async def test_key_value_headers_and_partition_reach_the_producer(make_publisher, producer):
    publisher = make_publisher(producer)
    await publisher.start()
    await publisher.deliver([output(1, 3), output(2, 3, partition_key=b"conversation")])
    first, second = producer.sent
    assert first == {
        "topic": "raw-events",
        "key": b"k1",
        "value": b"xxx",
        "headers": [("h", b"1")],
        "partition": partition_for(b"k1", 4),
    }
    assert second["partition"] == partition_for(b"conversation", 4)


@pytest.mark.parametrize(
    ("bounds", "fits"),
    [(Bounds(3, 1 << 20), 3), (Bounds(100, 4 * (HEADER_BYTES + 12)), 4)],
    ids=["messages", "bytes"],
)
async def test_a_full_publisher_makes_the_next_one_wait(make_publisher, eventually, bounds, fits):
    producer = RecordingProducer(automatic=False)
    publisher = make_publisher(producer, bounds=bounds)
    await publisher.start()
    tasks = [
        asyncio.create_task(publisher.publish(output(n), lambda _error: None)) for n in range(10)
    ]
    await eventually(lambda: len(producer.sent) == fits)
    for _ in range(20):
        await asyncio.sleep(0)
    assert sum(task.done() for task in tasks) == fits
    assert publisher.in_flight == fits
    assert publisher.in_flight_bytes <= bounds.bytes
    producer.acknowledge(1)
    await eventually(lambda: len(producer.sent) == fits + 1)
    assert publisher.in_flight == fits
    producer.automatic = True
    producer.acknowledge()
    await asyncio.gather(*tasks)
    assert await publisher.flush(5)
    assert len({record["key"] for record in producer.sent}) == 10


async def test_a_record_larger_than_the_bound_goes_alone(make_publisher, producer):
    publisher = make_publisher(producer, bounds=Bounds(10, 100))
    await publisher.start()
    await publisher.deliver([output(1, 5_000), output(2, 5_000)])
    assert len(producer.sent) == 2


async def test_a_waiter_that_gives_up_leaves_its_place(make_publisher, eventually):
    producer = RecordingProducer(automatic=False)
    publisher = make_publisher(producer, bounds=Bounds(1, 1 << 20))
    await publisher.start()
    await publisher.publish(output(0), lambda _error: None)
    impatient = asyncio.create_task(publisher.publish(output(1), lambda _error: None))
    patient = asyncio.create_task(publisher.publish(output(2), lambda _error: None))
    await asyncio.sleep(0)
    impatient.cancel()
    producer.acknowledge()
    await eventually(patient.done)
    assert [record["key"] for record in producer.sent] == [b"k0", b"k2"]
    producer.acknowledge()
    assert await publisher.flush(5)


async def test_what_fails_is_sent_again_until_acknowledged(make_publisher, producer):
    publisher = make_publisher(producer)
    await publisher.start()
    producer.failures = [kafka_errors.KafkaTimeoutError(), kafka_errors.NotEnoughReplicasError()]
    await publisher.deliver([output(1), output(2)])
    assert {record["key"] for record in producer.sent} == {b"k1", b"k2"}
    assert publisher.retried >= 2
    assert publisher.acknowledged == 2


async def test_a_record_that_never_fits_is_told_as_invalid(make_publisher, producer):
    publisher = make_publisher(producer)
    await publisher.start()
    producer.failures = [kafka_errors.MessageSizeTooLargeError()]
    with pytest.raises(InvalidMessage) as refused:
        await publisher.deliver([output(1), output(2)])
    assert refused.value.error_type is ErrorType.TOO_LARGE
    assert publisher.in_flight == 0


async def test_the_start_waits_for_kafka_and_says_so(make_publisher, producer):
    attempts = []

    def connect():
        attempts.append(None)
        if len(attempts) < 3:
            raise kafka_errors.KafkaTimeoutError
        return producer

    publisher = make_publisher(producer, connect=connect)
    assert publisher.waiting_for() == "Kafka"
    await publisher.start()
    assert len(attempts) == 3
    assert publisher.waiting_for() == ""


async def test_the_start_waits_for_a_topic_and_names_it(make_publisher, eventually):
    producer = RecordingProducer(topics={"raw-events"})
    publisher = make_publisher(producer)
    starting = asyncio.create_task(publisher.start())
    await eventually(lambda: "klingel topics apply" in publisher.waiting_for())
    assert "topic dead-letters" in publisher.waiting_for()
    producer.topics = None
    await starting
    assert publisher.waiting_for() == ""


async def test_late_acknowledgements_are_told_as_waiting_for_kafka(make_publisher):
    clock = FixedClock()
    producer = RecordingProducer(automatic=False)
    publisher = make_publisher(producer, clock=clock)
    await publisher.start()
    await publisher.publish(output(1), lambda _error: None)
    clock.advance(4)
    assert publisher.waiting_for(5) == ""
    clock.advance(2)
    assert publisher.waiting_for(5) == "Kafka"
    assert publisher.oldest_seconds() == 6
    producer.acknowledge()
    assert await publisher.flush(5)
    assert publisher.waiting_for(5) == ""


async def test_close_says_when_something_was_not_acknowledged(make_publisher):
    producer = RecordingProducer(automatic=False)
    publisher = make_publisher(producer)
    await publisher.start()
    await publisher.publish(output(1), lambda _error: None)
    assert not await publisher.close(0.01)
    assert producer.closed


async def test_a_producer_that_never_recovers_is_replaced(make_publisher):
    broken, good = RecordingProducer(), RecordingProducer()
    broken.failures = [kafka_errors.KafkaTimeoutError() for _ in range(50)]
    producers = [broken, good]
    publisher = make_publisher(broken, connect=lambda: producers.pop(0))
    await publisher.start()
    await publisher.deliver([output(1), output(2)])
    assert broken.closed
    assert {record["key"] for record in good.sent} == {b"k1", b"k2"}
    assert publisher.in_flight == 0


async def test_lost_metadata_never_block_the_loop_twice(make_publisher):
    """`send` blocks when kafka-python has lost a topic's metadata: then it is looked up aside."""

    class Forgetful(RecordingProducer):
        blocked = 0

        def send(self, topic, **record):
            if self.blocked == 0:
                self.blocked += 1
                raise kafka_errors.KafkaTimeoutError
            return super().send(topic, **record)

    producer = Forgetful()
    publisher = make_publisher(producer)
    await publisher.start()
    await publisher.deliver([output(number) for number in range(50)])
    assert producer.blocked == 1
    assert len({record["key"] for record in producer.sent}) == 50
