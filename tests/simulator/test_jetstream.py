"""The Jetstream protocol's pure parts: filters, cursors, frames, the log, rendering."""

import json
from base64 import b32decode
from itertools import pairwise
from pathlib import Path

import pytest

from klingel_simulator.atproto import BlueskyRenderer, to_cid, to_facets, to_identity, to_tid
from klingel_simulator.jetstream import (
    Entry,
    EventLog,
    Filter,
    RefusedError,
    SlowReader,
    parse_filter_v1,
    parse_filter_v2,
    parse_options_update,
    resolve_cursor,
    to_frame_v1,
    to_frame_v2,
)
from klingel_simulator.people import to_person
from klingel_simulator.traffic import BLUESKY, Traffic

from ..absent import absent

NOW = 1_790_000_000_000_000
SAMPLE = Path(__file__).parents[3] / "shared/data/permissive/payloads"


def entry(kind="commit", collection="app.bsky.feed.post", did="did:plc:aaa"):
    return Entry(1, NOW, kind, did, collection, b'"rev":"x"')


def filled(count=10, *, max_events=1_000, look_back=3_600.0):
    log = EventLog(max_events=max_events, look_back_seconds=look_back)
    for number in range(count):
        log.append("commit", "did:plc:aaa", "c", b"", NOW + number * 1_000_000)
    return log


# --- filters -----------------------------------------------------------------------------------


def test_collections_match_exactly_or_by_prefix_and_constrain_commits_alone():
    wanted = parse_filter_v1(
        [("wantedCollections", "app.bsky.feed.*"), ("wantedCollections", "app.bsky.graph.follow")]
    )
    assert wanted.wants(entry())
    assert wanted.wants(entry(collection="app.bsky.graph.follow"))
    assert not wanted.wants(entry(collection="app.bsky.graph.block"))
    assert not wanted.wants(entry(collection="app.bsky.feedx.post"))
    assert wanted.wants(entry(kind="identity", collection=""))


def test_dids_constrain_every_kind():
    wanted = parse_filter_v1([("wantedDids", "did:plc:aaa")])
    assert wanted.wants(entry())
    assert not wanted.wants(entry(did="did:plc:bbb"))
    assert not wanted.wants(entry(kind="account", did="did:plc:bbb"))


def test_kinds_of_the_second_wire_select_events():
    wanted = parse_filter_v2([("kinds", "commit"), ("collections", "app.bsky.feed.post")])
    assert wanted.wants(entry())
    assert not wanted.wants(entry(kind="identity"))


@pytest.mark.parametrize(("raw", "size"), [("", 0), ("-5", 0), ("x", 0), ("99999999999", 0)])
def test_a_nonsensical_size_means_no_limit(raw, size):
    assert parse_filter_v1([("maxMessageSizeBytes", raw)]).max_bytes == size
    assert parse_filter_v1([("maxMessageSizeBytes", "512")]).max_bytes == 512


@pytest.mark.parametrize(
    ("parse", "query"),
    [
        (parse_filter_v1, [("wantedCollections", "posts")]),
        (parse_filter_v1, [("wantedCollections", "app.bsky.fo*")]),
        (parse_filter_v1, [("wantedDids", "alice")]),
        (parse_filter_v1, [("wantedCollections", f"a.b.c{n}") for n in range(101)]),
        (parse_filter_v2, [("wantedCollections", "app.bsky.feed.post")]),
        (parse_filter_v2, [("wantedDids", "did:plc:aaa")]),
        (parse_filter_v2, [("requireHello", "true")]),
        (parse_filter_v2, [("compress", "true")]),
        (parse_filter_v2, [("kinds", "likes")]),
        (parse_filter_v2, [("kinds", "identity"), ("collections", "app.bsky.feed.post")]),
        (parse_filter_v2, [("collections", "not_an_nsid.*")]),
    ],
)
def test_invalid_filters_are_refused(parse, query):
    with pytest.raises(RefusedError) as refusal:
        parse(query)
    assert refusal.value.name == "InvalidRequest"
    assert refusal.value.status == 400


def test_an_options_update_replaces_the_filter_and_other_messages_are_ignored():
    update = {"type": "options_update", "payload": {"wantedCollections": ["a.b.*"]}}
    assert parse_options_update(json.dumps(update)) == Filter(prefixes=("a.b.",))
    assert parse_options_update('{"type":"hello"}') is None
    for broken in ("[]", "{", '{"type":"options_update","payload":3}'):
        with pytest.raises(ValueError, match=r".+"):
            parse_options_update(broken)


# --- cursors -----------------------------------------------------------------------------------


def test_a_cursor_is_inclusive_by_seq_and_by_time():
    log = filled()
    now = NOW + 20_000_000
    assert resolve_cursor("4", log, now, refuse_old=True).seq == 4
    assert resolve_cursor(str(NOW + 3_000_000), log, now, refuse_old=True).seq == 4
    assert resolve_cursor(str(NOW + 3_000_001), log, now, refuse_old=True).seq == 5
    assert resolve_cursor("0", log, now, refuse_old=True).seq == 1


def test_no_cursor_and_a_future_cursor_begin_live():
    log = filled()
    for raw in ("", "11", "999", str(NOW + 3_600_000_000)):
        start = resolve_cursor(raw, log, NOW + 20_000_000, refuse_old=True)
        assert (start.seq, start.replays) == (11, False)
    notice = resolve_cursor("999", log, NOW, refuse_old=True).notice
    assert notice is not None
    assert notice[0] == "FutureCursor"


@pytest.mark.parametrize("log", [filled(look_back=5.5), filled(max_events=5)])
def test_a_seq_below_the_look_back_is_refused_by_name_or_clamped_on_the_first_wire(log):
    now = NOW + 10_000_000
    floor = log.floor(now)
    assert floor > 2
    with pytest.raises(RefusedError, match=f"cursor too old.*floor {floor}") as refusal:
        resolve_cursor("2", log, now, refuse_old=True)
    assert refusal.value.name == "CursorTooOld"
    assert resolve_cursor("2", log, now, refuse_old=False).seq == floor


def test_a_time_below_the_look_back_is_clamped_with_a_notice_or_refused_when_asked():
    log, now = filled(look_back=5.5), NOW + 10_000_000
    start = resolve_cursor(str(NOW), log, now, refuse_old=True)
    assert start.seq == log.floor(now)
    assert start.notice is not None
    assert start.notice[0] == "OutdatedCursor"
    with pytest.raises(RefusedError, match="cursor too old"):
        resolve_cursor(str(NOW), log, now, refuse_old=True, refuse_old_times=True)


@pytest.mark.parametrize("raw", ["-1", "x", "1.5", "9" * 30])
def test_a_cursor_that_is_no_number_is_refused(raw):
    with pytest.raises(RefusedError) as refusal:
        resolve_cursor(raw, filled(), NOW, refuse_old=False)
    assert refusal.value.name == "InvalidRequest"


def test_the_log_keeps_seqs_contiguous_and_times_increasing_and_forgets_the_oldest():
    log = filled(50, max_events=20)
    assert log.read(1, 5) is None
    kept = log.read(log.floor(NOW), 100)
    assert kept is not None
    assert [e.seq for e in kept] == list(range(kept[0].seq, 51))
    same = [log.append("commit", "d", "c", b"", NOW) for _ in range(3)]
    assert [e.time_us - same[0].time_us for e in same] == [0, 1, 2]


def test_a_slow_reader_is_found_only_when_far_behind_for_a_whole_window():
    slow = SlowReader(max_lag=100, min_rate=10, window_seconds=5)
    assert not slow.observe(0, 500, 0.0)
    assert not slow.observe(10, 500, 4.9)
    assert slow.observe(20, 500, 5.0)
    fast = SlowReader(max_lag=100, min_rate=10, window_seconds=5)
    assert not fast.observe(0, 500, 0.0)
    assert not fast.observe(100, 500, 5.0)
    assert not fast.observe(100, 50, 30.0)


# --- rendering ---------------------------------------------------------------------------------


def test_a_tid_is_sortable_and_decodes_to_its_time():
    earlier, later = to_tid(NOW, 5), to_tid(NOW + 1, 0)
    assert len(earlier) == 13
    assert earlier < later
    number = 0
    for letter in earlier:
        number = number * 32 + "234567abcdefghijklmnopqrstuvwxyz".index(letter)
    assert number >> 10 == NOW


def test_a_cid_is_version_one_dag_cbor_sha256():
    cid = to_cid("x")
    raw = b32decode(cid[1:].upper() + "=" * (-len(cid[1:]) % 8))
    assert cid.startswith("bafyrei")
    assert raw[:4] == b"\x01\x71\x12\x20"
    assert len(raw) == 36


def test_facets_count_utf8_bytes():
    text = "👍 @nord.example größer #netz https://a.example/x"
    facets = to_facets(text, (("nord.example", "did:plc:nord"),))
    raw = text.encode()
    spans = [raw[f["index"]["byteStart"] : f["index"]["byteEnd"]].decode() for f in facets]
    assert spans == ["@nord.example", "#netz", "https://a.example/x"]
    assert facets[0]["features"][0]["did"] == "did:plc:nord"


def rendered(count=4_000):
    renderer = BlueskyRenderer(3)
    traffic = Traffic(3, count=count, dialect=BLUESKY)
    return [
        (said, renderer.to_commit(said, NOW + number * 100)) for number, said in enumerate(traffic)
    ]


def test_every_commit_is_json_on_both_wires_and_says_the_same():
    for number, (said, commit) in enumerate(rendered()):
        written = Entry(number, NOW, "commit", commit.did, commit.collection, commit.body)
        first, second = json.loads(to_frame_v1(written)), json.loads(to_frame_v2(written))
        assert list(first) == ["did", "time_us", "cursor", "kind", "commit"]
        payload = second["payload"]
        assert payload["$type"] == "network.bsky.jetstream.subscribeEvents#commit"
        assert payload["seq"] == first["cursor"] == number
        assert first["commit"].items() <= payload.items()
        if said.operation != "delete" and said.kind in {"post", "reply", "quote"}:
            assert first["commit"]["record"]["text"] == said.text


def test_duplicates_repeat_the_bytes_and_edits_have_growing_revisions():
    seen: dict[str, list[int]] = {}
    bytes_of: dict[tuple[int, int], bytes] = {}
    for said, commit in rendered():
        if said.repeated:
            assert commit.body == bytes_of[said.key, said.revision]
            continue
        bytes_of[said.key, said.revision] = commit.body
        seen.setdefault(commit.did + commit.rkey, []).append(commit.revision)
    assert any(len(revisions) > 1 for revisions in seen.values())
    for revisions in seen.values():
        assert revisions[0] == 0
        assert all(a < b for a, b in pairwise(revisions))


def test_an_authors_revs_grow():
    last: dict[str, str] = {}
    for said, commit in rendered():
        if not said.repeated:
            rev = json.loads(b"{" + commit.body + b"}")["rev"]
            assert rev > last.get(commit.did, "")
            last[commit.did] = rev


def test_replies_quotes_and_reposts_refer_to_what_was_said():
    uris = set()
    kinds = set()
    for said, commit in rendered():
        record = json.loads(b"{" + commit.body + b"}").get("record", {})
        uris.add(f"at://{commit.did}/{commit.collection}/{commit.rkey}")
        if said.operation != "create" or said.repeated:
            continue
        kinds.add(said.kind)
        if said.kind == "reply":
            assert record["reply"]["root"]["uri"].endswith(BlueskyRenderer(3).rkey(said.root.key))
        if said.kind == "quote":
            assert record["embed"]["record"]["uri"] in uris
        if said.kind in {"repost", "reaction"}:
            assert record["subject"]["uri"] in uris
    assert kinds == {"post", "reply", "quote", "repost", "reaction"}


def test_identity_events_have_the_services_form():
    person = to_person(1, 1)
    written = Entry(7, NOW, "identity", person.did, "", to_identity(person, 5, NOW))
    event = json.loads(to_frame_v1(written))
    assert list(event) == ["did", "time_us", "cursor", "kind", "identity"]
    assert list(event["identity"]) == ["did", "handle", "seq", "time"]


def test_our_commits_have_the_members_of_recorded_ones(tmp_path):
    archive = SAMPLE / "bluesky_jetstream_sample.tar.gz"
    if not archive.exists():
        absent("the recorded Jetstream sample is not beside the checkout")
    import tarfile  # noqa: PLC0415 only where the sample exists

    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    lines = next(tmp_path.rglob("*.jsonl")).read_text(encoding="utf-8").splitlines()
    recorded = [json.loads(line) for line in lines]
    real = {e["commit"]["collection"]: e for e in recorded if e["commit"]["operation"] == "create"}
    ours = {}
    for number, (said, commit) in enumerate(rendered()):
        if said.operation == "create":
            written = Entry(number, NOW, "commit", commit.did, commit.collection, commit.body)
            ours[commit.collection] = json.loads(to_frame_v1(written))
    for collection in ("app.bsky.feed.post", "app.bsky.feed.repost", "app.bsky.feed.like"):
        assert list(real[collection]) == [k for k in ours[collection] if k != "cursor"]
        assert list(real[collection]["commit"]) == list(ours[collection]["commit"])
        required = {"$type", "createdAt"} | (
            {"subject"} & set(real[collection]["commit"]["record"])
        )
        assert required <= set(ours[collection]["commit"]["record"])
        for name in ("rev", "rkey"):
            assert len(ours[collection]["commit"][name]) == len(real[collection]["commit"][name])
        assert len(ours[collection]["commit"]["cid"]) == len(real[collection]["commit"]["cid"])
        assert len(ours[collection]["did"]) == len(real[collection]["did"])
