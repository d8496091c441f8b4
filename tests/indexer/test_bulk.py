"""The outcome table, item by item, through the real client, against the fake and the real server."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.testing.elasticsearch import After, FakeElasticsearch, ItemFault, RequestFault
from klingel_indexer.bulk import (
    Batch,
    BulkLimits,
    Concurrency,
    Item,
    action_line,
    backoff_seconds,
    elasticsearch_client,
)
from klingel_indexer.convert import Write


def post(cluster, id_, version=0, **fields):
    body = json.dumps({"object_id": id_, "document_version": version, **fields}).encode()
    return Write(index=cluster.events, id=id_, op="index", version=version, body=body)


def letter(cluster, id_, **fields):
    body = json.dumps({"stage": "understand", **fields}).encode()
    return Write(index=f"{cluster.prefix}dead-letters", id=id_, op="create", body=body)


async def write(writing, *writes):
    """Write in one batch; tags are the positions."""
    for tag, one in enumerate(writes):
        writing.writer.add(Item(one, tag))
    assert await writing.writer.drain(30)
    return [writing.verdicts[tag] for tag in range(len(writes))]


# ---------------------------------------------------------------- on both servers


async def test_written_and_replayed(cluster, writing):
    """The same document twice is the same document, with a success both times."""
    assert await write(writing(cluster.client), post(cluster, "a", 3, text="x")) == ["written"]
    assert await write(writing(cluster.client), post(cluster, "a", 3, text="x")) == ["written"]
    assert (await cluster.document(cluster.events, "a"))["version"] == 3
    assert await cluster.count(cluster.events) == 1


async def test_late_version_loses_and_counts_as_success(cluster, writing):
    await write(writing(cluster.client), post(cluster, "a", 9, text="new"))
    made = writing(cluster.client)
    assert await write(made, post(cluster, "a", 8, text="old")) == ["stale"]
    assert (await cluster.document(cluster.events, "a"))["text"] == "new"
    assert made.counted("klingel_bulk_items_total", "outcome") == {"stale": 1}


async def test_creation_that_is_there_already_counts_as_success(cluster, writing):
    assert await write(writing(cluster.client), letter(cluster, cluster.brand, attempt=1)) == [
        "written"
    ]
    assert await write(writing(cluster.client), letter(cluster, cluster.brand, attempt=2)) == [
        "exists"
    ]
    held = await cluster.document(f"{cluster.prefix}dead-letters", cluster.brand)
    assert held["attempt"] == 1


async def test_tombstone_stands_against_older_writes(cluster, writing):
    """A deletion leaves an empty document; what was said before does not come back."""
    deletion = post(cluster, "a", 50, change="deleted", deleted_at="2026-11-22T12:00:00.000Z")
    await write(writing(cluster.client), post(cluster, "a", 1, text="said"))
    assert await write(writing(cluster.client), deletion) == ["written"]
    assert await write(writing(cluster.client), post(cluster, "a", 2, text="late")) == ["stale"]
    assert "text" not in await cluster.document(cluster.events, "a")


@pytest.mark.parametrize(
    ("fields", "error_type"),
    [
        ({"published_at": "yesterday"}, "document_parsing_exception"),
        ({"revision": "many"}, "document_parsing_exception"),
        ({"author": "nobody"}, "document_parsing_exception"),
        ({"surprise": 1}, "strict_dynamic_mapping_exception"),
        ({"author": {"surprise": 1}}, "strict_dynamic_mapping_exception"),
    ],
)
async def test_malformed_is_refused_alone(cluster, writing, fields, error_type):
    """A partial failure: the neighbours are written, nothing is sent twice."""
    made = writing(cluster.client)
    verdicts = await write(
        made, post(cluster, "a"), post(cluster, "b", **fields), post(cluster, "c")
    )
    assert verdicts == ["written", "refused", "written"]
    assert made.ends[1].error_type == error_type
    assert await cluster.count(cluster.events) == 2


async def test_field_named_twice_is_refused(cluster, writing):
    twice = Write(
        index=cluster.events, id="a", op="index", version=0, body=b'{"brand":"a","brand":"b"}'
    )
    assert await write(writing(cluster.client), twice) == ["refused"]


async def test_one_impossible_item_that_fails_the_request_is_found(cluster, writing):
    """An id above 512 bytes makes the server refuse the whole request: it is split to the culprit."""
    writes = [post(cluster, name) for name in "abcdefg"]
    writes[4] = post(cluster, "x" * 513)
    verdicts = await write(writing(cluster.client), *writes)
    assert verdicts == ["written"] * 4 + ["refused"] + ["written"] * 2
    assert await cluster.count(cluster.events) == 6


async def test_blocked_index_is_waited_for(cluster, writing, clock):
    """A write block is nobody's fault but the cluster's: retry, counted, until it is lifted."""
    await write(writing(cluster.client), post(cluster, "a"))
    blocks = {"index": {"blocks": {"write": True}}}
    await cluster.client.indices.put_settings(index=cluster.events, settings=blocks)

    async def lift():
        if len(clock.naps) == 3:
            lifted = {"index": {"blocks": {"write": None}}}
            await cluster.client.indices.put_settings(index=cluster.events, settings=lifted)

    clock.on_sleep = lift
    made = writing(cluster.client)
    assert await write(made, post(cluster, "b")) == ["written"]
    assert made.counted("klingel_bulk_retries_total", "reason") == {"blocked": 3}
    assert await cluster.count(cluster.events) == 2


async def test_versions_of_one_id_in_a_batch_are_coalesced(cluster, writing):
    made = writing(cluster.client)
    verdicts = await write(
        made,
        post(cluster, "a", 1, text="1"),
        post(cluster, "a", 3, text="3"),
        post(cluster, "b", 1),
        post(cluster, "a", 2, text="2"),
    )
    assert verdicts == ["coalesced", "written", "written", "coalesced"]
    assert (await cluster.document(cluster.events, "a"))["text"] == "3"


async def test_refused_newest_version_lets_the_older_ones_through(cluster, writing):
    """What a refused version stood for is sent after all: only the refused one is a dead letter."""
    made = writing(cluster.client)
    verdicts = await write(
        made,
        post(cluster, "a", 1, text="1"),
        post(cluster, "a", 2, text="2"),
        post(cluster, "a", 3, surprise=1),
    )
    assert verdicts == ["coalesced", "written", "refused"]
    assert (await cluster.document(cluster.events, "a"))["text"] == "2"


# ---------------------------------------------------------------- faults, on the fake alone


async def test_busy_request_is_repeated_and_concurrency_halved(fake, fake_cluster, writing):
    made = writing(fake_cluster.client, requests=4)
    made.writer.concurrency.limit = 4
    fake.request_faults.append(RequestFault(429, "es_rejected_execution_exception"))
    assert await write(made, post(fake_cluster, "a"), post(fake_cluster, "b")) == ["written"] * 2
    assert made.writer.concurrency.limit == 2
    assert made.counted("klingel_bulk_retries_total", "reason") == {"retry": 2}


async def test_busy_item_alone_is_repeated(fake, fake_cluster, writing):
    """Only the item that was turned away is sent again."""
    fake.item_faults.append(ItemFault("b", 429, "es_rejected_execution_exception", times=2))
    made = writing(fake_cluster.client)
    verdicts = await write(made, *[post(fake_cluster, name) for name in "abc"])
    assert verdicts == ["written"] * 3
    assert fake.bulk_requests == [["a", "b", "c"], ["b"], ["b"]]
    assert made.writer.concurrency.limit == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_server_error_is_repeated(fake, fake_cluster, writing, status):
    fake.request_faults.extend([RequestFault(status, "exception")] * 2)
    assert await write(writing(fake_cluster.client), post(fake_cluster, "a")) == ["written"]
    assert len(fake.bulk_requests) == 1


async def test_unavailable_shard_holds_its_item_alone(fake, fake_cluster, writing):
    fake.item_faults.append(ItemFault("a", 503, "unavailable_shards_exception"))
    verdicts = await write(
        writing(fake_cluster.client), post(fake_cluster, "a"), post(fake_cluster, "b")
    )
    assert verdicts == ["written"] * 2
    assert fake.bulk_requests == [["a", "b"], ["a"]]


async def test_answer_lost_after_apply_is_harmless(fake, fake_cluster, writing):
    """Applied, never answered: sent again, every document is there once at the same version."""
    fake.request_faults.append(RequestFault(after=After.DISCONNECT))
    made = writing(fake_cluster.client)
    verdicts = await write(made, post(fake_cluster, "a", 4), letter(fake_cluster, "l"))
    assert verdicts == ["written", "exists"]
    assert fake.bulk_requests == [["a", "l"]] * 2
    assert (await fake_cluster.document(fake_cluster.events, "a"))["version"] == 4
    assert made.counted("klingel_bulk_retries_total", "reason") == {"unavailable": 2}


async def test_fewer_items_than_actions_settles_none_of_them(fake, fake_cluster, writing):
    fake.request_faults.append(RequestFault(after=After.DROP_AN_ITEM))
    made = writing(fake_cluster.client)
    verdicts = await write(made, *[post(fake_cluster, name) for name in "abc"])
    assert verdicts == ["written"] * 3
    assert fake.bulk_requests == [["a", "b", "c"]] * 2
    assert made.counted("klingel_bulk_retries_total", "reason") == {"items_missing": 3}


async def test_too_large_request_is_split_and_one_too_large_document_refused(templates, writing):
    server = FakeElasticsearch(max_content_bytes=2000)
    await server.start()
    async with elasticsearch_client(server.url) as client:
        made = writing(client)
        target = type("Target", (), {"events": "events", "prefix": ""})()
        writes = [post(target, name, text="x" * 400) for name in "abcdefgh"]
        writes[5] = post(target, "f", text="x" * 3000)
        verdicts = await write(made, *writes)
    await server.stop()
    assert verdicts == ["written"] * 5 + ["refused"] + ["written"] * 2
    assert made.ends[5].too_large
    assert len(server.indices["events"].documents) == 7


async def test_missing_index_is_waited_for_where_none_is_made(fake, fake_cluster, writing, clock):
    fake.auto_create = False

    async def allow():
        fake.auto_create = len(clock.naps) >= 2

    clock.on_sleep = allow
    made = writing(fake_cluster.client)
    assert await write(made, post(fake_cluster, "a")) == ["written"]
    assert made.counted("klingel_bulk_retries_total", "reason") == {"missing_index": 2}


async def test_cluster_away_for_minutes_loses_nothing_and_bounds_memory(
    fake, fake_cluster, writing, clock
):
    """Five minutes without a server: the writer says that it has no room, then goes on by itself."""
    made = writing(fake_cluster.client, documents=10, outstanding_documents=50, requests=2)
    await fake.stop()

    async def come_back():
        if clock.monotonic() >= 300 and fake.stopped:
            await fake.start()

    clock.on_sleep = come_back
    taken = 0
    while made.writer.room:
        made.writer.add(Item(post(fake_cluster, f"p{taken}"), taken))
        taken += 1
    assert taken == 50
    assert await made.writer.drain(30)
    assert clock.monotonic() >= 300
    assert max(clock.naps) <= BulkLimits().longest_wait_seconds
    assert set(made.verdicts.values()) == {"written"}
    assert await fake_cluster.count(fake_cluster.events) == 50
    assert made.writer.room
    assert made.writer.outstanding == made.writer.outstanding_bytes == 0
    assert made.writer.waiting_for is None


async def test_waiting_for_elasticsearch_is_told(fake, fake_cluster, writing, clock):
    made = writing(fake_cluster.client)
    told = []
    fake.request_faults.append(RequestFault(503, "cluster_block_exception"))

    async def note():
        told.append(made.writer.waiting_for)

    clock.on_sleep = note
    await write(made, post(fake_cluster, "a"))
    assert told == ["elasticsearch"]
    assert made.writer.waiting_for is None


# ---------------------------------------------------------------- batches and pace


async def test_full_batch_leaves_at_once_and_an_open_one_when_it_is_old(
    fake_cluster, writing, clock
):
    made = writing(fake_cluster.client, documents=3, linger_seconds=0.2)
    for name in "abcd":
        made.writer.add(Item(post(fake_cluster, name), name))
    assert made.writer.linger() == pytest.approx(0.2)
    clock.advance(0.15)
    made.writer.flush_due()
    assert made.writer.linger() == pytest.approx(0.05)
    clock.advance(0.1)
    made.writer.flush_due()
    assert made.writer.linger() is None
    assert await made.writer.drain(30)


async def test_batch_leaves_by_bytes(fake, fake_cluster, writing):
    made = writing(fake_cluster.client, bytes=1000)
    for name in "abc":
        made.writer.add(Item(post(fake_cluster, name, text="x" * 400), name))
    assert await made.writer.drain(30)
    assert fake.bulk_requests == [["a", "b"], ["c"]]


async def test_concurrency_never_exceeds_its_limit_and_grows_when_calm():
    concurrency = Concurrency(3)
    active = highest = 0
    go_on = asyncio.Event()

    async def request():
        nonlocal active, highest
        async with concurrency:
            active += 1
            highest = max(highest, active)
            await go_on.wait()
            active -= 1
        concurrency.calm()

    tasks = [asyncio.create_task(request()) for _ in range(12)]
    await asyncio.sleep(0)
    assert active == 2
    go_on.set()
    await asyncio.gather(*tasks)
    assert highest <= 3
    assert concurrency.limit == 3


async def test_one_round_of_busy_answers_halves_once():
    concurrency = Concurrency(4)
    concurrency.limit = 4
    rounds = [await concurrency.__aenter__() for _ in range(4)]
    for sent_in in rounds:
        concurrency.busy(sent_in)
    assert concurrency.limit == 2
    concurrency.busy(rounds[0] + 1)
    assert concurrency.limit == 1


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_back_off_is_bounded_and_never_nothing(failures, chance):
    limits = BulkLimits()
    wait = backoff_seconds(failures, limits, chance)
    assert limits.first_wait_seconds / 2 <= wait <= limits.longest_wait_seconds


# ---------------------------------------------------------------- coalescing


def _write(id_, version, op="index"):
    return Write(index="i", id=id_, op=op, version=version, body=b"{}")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=30))
def test_a_batch_sends_the_newest_of_each_id_and_forgets_none(given_writes):
    """Among equal versions the later stands; every other one is kept as superseded."""
    batch = Batch()
    items = [Item(_write(id_, version), at) for at, (id_, version) in enumerate(given_writes)]
    for item in items:
        batch.add(item)
    sent = {item.write.id: item for item in batch.items()}
    for id_, item in sent.items():
        versions = [(one.write.version, one.tag) for one in items if one.write.id == id_]
        assert (item.write.version, item.tag) == max(versions)
    kept = [item.tag for top in sent.values() for item in (top, *top.superseded)]
    assert sorted(kept) == list(range(len(items)))
    assert batch.bytes == sum(item.size for item in sent.values())


def test_of_two_creations_the_first_is_sent():
    batch = Batch()
    for tag in range(2):
        batch.add(Item(_write("a", None, "create"), tag))
    (sent,) = batch.items()
    assert sent.tag == 0
    assert [item.tag for item in sent.superseded] == [1]


def test_action_line_escapes_the_id():
    line = action_line(_write('a"\n\\ü', 7))
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "index": {"_index": "i", "_id": 'a"\n\\ü', "version": 7, "version_type": "external_gte"}
    }
