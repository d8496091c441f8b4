"""The whole loop over the broker in memory, against a real receiver: from record to request."""

import json

from klingel.contracts.topics import Topic


async def test_an_escalation_is_told_once(build, broker, running, receiver):
    one = running(build.chat(), urls={"chat": receiver.url})
    broker.append(build.output(build.escalation()))
    await one.settle()
    assert receiver.keys == [f"escalation_{1:032x}_1"]
    body = json.loads(receiver.requests[0][2])
    assert "First response of a case in outages is due at 2026-11-23 12:15 UTC" in body["text"]
    assert one.letters() == []
    assert one.counted("klingel_delivered_total") == 1
    ends = [broker.end(Topic.ESCALATIONS, number) for number in range(broker.partitions)]
    held = [broker.committed("notifier", Topic.ESCALATIONS, number) for number in range(3)]
    assert [each.offset if each else 0 for each in held] == ends


async def test_what_was_told_is_not_told_again_by_the_next_worker(build, broker, running, receiver):
    first = running(build.chat(), urls={"chat": receiver.url})
    broker.append(build.output(build.escalation()))
    await first.settle()
    await first.end()
    second = running(build.chat(), urls={"chat": receiver.url})
    broker.append(build.output(build.escalation()))
    await second.settle()
    assert len(receiver.requests) == 1
