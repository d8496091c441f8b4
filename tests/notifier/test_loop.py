"""The whole loop over the broker in memory, against a real receiver: from record to request."""

import json
from datetime import datetime, timedelta, timezone

import pytest

from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.domain.notifications import Backoff
from klingel.model import Notification
from klingel_cli.dead_letters import KeptDeadLetter
from klingel_notifier import service
from klingel_notifier.service import NotifierOptions

NIGHT = {"id": "desk", "zone": "Etc/UTC", "hours": {"mon-sun": ["08:00-20:00"]}}


def key(number, revision=1):
    return f"escalation_{number:032x}_{revision}"


def texts(receiver):
    return [json.loads(body)["text"] for _, _, body in receiver.requests]


def committed(broker, topic):
    held = [broker.committed("notifier", topic, number) for number in range(broker.partitions)]
    return [each.offset if each else 0 for each in held]


def ends(broker, topic):
    return [broker.end(topic, number) for number in range(broker.partitions)]


# ---------------------------------------------------------------------- once


async def test_an_escalation_is_told_once(build, broker, running, receiver):
    one = running(build.chat(), urls={"chat": receiver.url})
    broker.append(build.output(build.escalation()))
    await one.settle()
    assert receiver.keys == [key(1)]
    assert (
        "First response of a case in outages is due at 2026-11-23 12:15 UTC" in texts(receiver)[0]
    )
    assert one.letters() == []
    assert one.counted("klingel_delivered_total") == 1
    assert committed(broker, Topic.ESCALATIONS) == ends(broker, Topic.ESCALATIONS)


async def test_what_was_told_is_not_told_again_by_the_next_worker(build, broker, running, receiver):
    first = running(build.chat(), urls={"chat": receiver.url})
    broker.append(build.output(build.escalation()))
    await first.settle()
    await first.end()
    second = running(build.chat(), urls={"chat": receiver.url})
    broker.append(build.output(build.escalation()))
    await second.settle()
    assert receiver.keys == [key(1)]
    assert second.counted("klingel_repeated_total") == 1


async def test_alerts_and_incidents_go_to_each_of_their_targets(build, broker, running, receiver):
    one = running(build.chat(), build.hook(), urls={
        "chat": receiver.url, "hook": receiver.url + "/signed", "secret": build.secret,
    })  # fmt: skip
    broker.append(build.output(build.alert(targets=["shift-chat", "hook", "hook"])))
    broker.append(build.output(build.incident(2, targets=["hook"])))
    broker.append(build.output(build.incident(3, targets=None)))
    await one.settle()
    places = sorted((path, headers["idempotency-key"]) for path, headers, _ in receiver.requests)
    assert places == [
        ("/hook", f"alert_{1:032x}_1"),
        ("/hook/signed", f"alert_{1:032x}_1"),
        ("/hook/signed", f"incident_{2:032x}_1"),
    ]
    assert one.counted("klingel_discarded_total", reason="no_target") == 1


async def test_an_older_revision_is_told_neither_after_nor_instead_of_a_newer_one(
    build, broker, running, receiver
):
    one = running(build.chat(), urls={"chat": receiver.url})
    broker.append(build.output(build.escalation(revision=3)))
    await one.settle()
    broker.append(build.output(build.escalation(revision=2, reason="breached")))
    await one.settle()
    assert receiver.keys == [key(1, 3)]
    receiver.default = 503
    broker.append(build.output(build.escalation(2, revision=5)))
    await one.settle()
    broker.append(build.output(build.escalation(3, revision=5)))
    await one.settle()
    broker.append(build.output(build.escalation(3, revision=4)))
    await one.settle()
    receiver.default = 200
    await one.go_on(600)
    assert key(3, 5) in receiver.keys
    assert key(3, 4) not in receiver.keys


async def test_an_older_revision_that_replaced_a_newer_one_in_the_log_is_replaced_again(
    build, broker, running, receiver
):
    """The log is compacted: what stands there last is all that the next worker reads."""
    receiver.default = 503
    one = running(build.chat(), urls={"chat": receiver.url})
    broker.append(build.output(build.escalation(1)))
    await one.settle()  # in the air, so that what follows waits
    broker.append(build.output(build.escalation(2, revision=5)))
    await one.settle()
    broker.append(build.output(build.escalation(2, revision=4)))
    await one.settle()
    wanted = [
        value for place, value in broker.compacted(Topic.NOTIFICATIONS).items()
        if place.startswith(b"wanted") and place.endswith(b"2")
    ]  # fmt: skip
    assert [codec.decode(Notification, value).revision for value in wanted] == [5]


async def test_people_are_told_what_is_new_and_machines_everything(
    build, broker, running, receiver
):
    one = running(build.chat(), build.hook(), urls={
        "chat": receiver.url, "hook": receiver.url + "/signed", "secret": build.secret,
    })  # fmt: skip
    for revision, severity in enumerate((7, 7, 8), start=1):
        broker.append(
            build.output(
                build.alert(revision=revision, severity=severity, targets=["shift-chat", "hook"])
            )
        )
        await one.go_on(600)
    paths = [path for path, _, _ in receiver.requests]
    assert paths.count("/hook") == 2
    assert paths.count("/hook/signed") == 3
    assert one.counted("klingel_discarded_total", reason="nothing_new") == 1


async def test_what_was_written_in_a_transaction_leaves_no_lag(build, broker, running, receiver):
    """Its marker takes an offset and is never delivered."""
    one = running(build.chat(), urls={"chat": receiver.url})
    epoch = broker.fence("care")
    broker.commit("care", epoch, [build.output(build.escalation())], {})
    await one.settle()
    assert receiver.keys == [key(1)]
    assert committed(broker, Topic.ESCALATIONS) == ends(broker, Topic.ESCALATIONS)


# ---------------------------------------------------------------------- failures


@pytest.mark.parametrize("answer", [500, 502, 503, 408, 425, "cut", "slow"])
async def test_a_failed_attempt_is_made_again_under_the_same_key(
    build, broker, running, receiver, answer
):
    receiver.plan = [answer, answer]
    one = running(build.chat(), urls={"chat": receiver.url}, timeout_seconds=0.1)
    broker.append(build.output(build.escalation()))
    await one.settle()
    assert len(receiver.requests) == 1
    await one.go_on(1)
    assert len(receiver.requests) == 2
    await one.go_on(2)
    assert receiver.keys == [key(1)] * 3
    assert [len(bodies) for bodies in receiver.contents().values()] == [1]
    assert one.letters() == []
    unsure = {500: 2, 502: 2, "cut": 2, "slow": 2}.get(answer, 0)
    assert one.counted("klingel_resent_total") == unsure
    assert one.counted("klingel_retries_total") == 2


async def test_an_answer_that_breaks_off_after_its_status_is_an_answer(
    build, broker, running, receiver
):
    receiver.plan = ["half"]
    one = running(build.chat(), urls={"chat": receiver.url})
    broker.append(build.output(build.escalation()))
    await one.go_on(0)
    await one.go_on(600)
    assert receiver.keys == [key(1)]


async def test_retry_after_is_honoured(build, broker, running, receiver):
    receiver.plan = [(429, {"Retry-After": "120"}), (503, {"Retry-After": "nonsense"})]
    one = running(build.chat(), urls={"chat": receiver.url})
    broker.append(build.output(build.escalation()))
    await one.settle()
    await one.go_on(119)
    assert len(receiver.requests) == 1
    await one.go_on(1)
    assert len(receiver.requests) == 2
    await one.go_on(2)
    assert len(receiver.requests) == 3


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 410, 413])
async def test_a_refusal_is_a_dead_letter_with_bytes_and_reason(
    build, broker, running, receiver, status
):
    receiver.plan = [status]
    one = running(build.chat(), urls={"chat": receiver.url})
    broker.append(build.output(build.escalation()))
    await one.settle()
    await one.go_on(600)
    assert receiver.keys == [key(1)]
    (message,) = one.letters()
    letter = KeptDeadLetter(message)
    assert letter.kind == "target_refused"
    assert letter.word("__connect.errors.exception.message") == (
        f"target shift-chat answered HTTP {status}"
    )
    entry = codec.decode(Notification, message.value)
    assert (entry.entry, entry.revision) == ("wanted", 1)
    assert b"c1:customer1" in bytes(entry.record)
    assert one.counted("klingel_dead_lettered_total", error_type="target_refused") == 1


async def test_a_dead_letter_that_is_sent_back_is_told(build, broker, running, receiver):
    receiver.plan = [404, 404]
    one = running(build.chat(), urls={"chat": receiver.url})
    broker.append(build.output(build.escalation()))
    await one.settle()
    for left in (1, 0):
        newest = one.letters()[-1]
        broker.append(KeptDeadLetter(newest).again(lambda _reference: None))
        await one.settle()
        assert len(receiver.plan) == 0
        assert len(one.letters()) == 2
        assert KeptDeadLetter(one.letters()[-1]).word("x-dlq-attempt") == "2"
        assert len(receiver.requests) == 3 - left
    broker.append(KeptDeadLetter(one.letters()[-1]).again(lambda _reference: None))
    await one.settle()
    assert len(receiver.requests) == 3  # it was told: what was told is not told again


async def test_what_is_no_record_is_a_dead_letter_and_the_partition_moves_on(
    build, broker, running, receiver
):
    one = running(build.chat(), urls={"chat": receiver.url})
    good = build.output(build.escalation())
    for value in (b"{", b'{"escalation_id": 7}', None):
        broker.append(type(good)(good.topic, good.key, value, partition_key=good.partition_key))
    broker.append(good)
    await one.settle()
    assert receiver.keys == [key(1)]
    assert sorted(KeptDeadLetter(each).kind for each in one.letters()) == [
        "malformed_json",
        "schema",
    ]
    assert committed(broker, Topic.ESCALATIONS) == ends(broker, Topic.ESCALATIONS)


async def test_one_target_that_is_away_stops_no_other(build, broker, running, receiver):
    gone = build.chat(id="gone", url_setting="gone")
    one = running(build.chat(), gone, urls={"chat": receiver.url, "gone": "http://127.0.0.1:9/"})
    for number in range(1, 9):
        broker.append(build.output(build.escalation(number, target="gone")))
        await one.go_on(60)
    assert one.notifier.open_circuits() == ["nordlicht/gone"]
    broker.append(build.output(build.escalation(20)))
    await one.settle()
    assert receiver.keys == [key(20)]
    assert committed(broker, Topic.ESCALATIONS) == ends(broker, Topic.ESCALATIONS)
    assert one.counted("klingel_targets", state="open") == 1
    assert one.counted("klingel_targets", state="closed") == 1


async def test_a_circuit_opens_is_probed_and_closes(build, broker, running, receiver):
    receiver.default = 503
    backoff = Backoff(first=1, longest=1, circuit_after=3, circuit_seconds=30)
    one = running(
        build.chat(),
        urls={"chat": receiver.url},
        options=NotifierOptions(commit_seconds=0, backoff=backoff),
    )
    broker.append(build.output(build.escalation()))
    await one.settle()
    for _ in range(2):
        await one.go_on(1)
    assert len(receiver.requests) == 3
    assert one.counted("klingel_targets", state="open") == 1
    await one.go_on(29)
    assert len(receiver.requests) == 3
    await one.go_on(1)  # one probe, which fails
    assert len(receiver.requests) == 4
    receiver.default = 200
    await one.go_on(30)
    assert len(receiver.requests) == 5
    assert one.counted("klingel_targets", state="closed") == 1


# ---------------------------------------------------------------------- missing


async def test_a_target_without_its_setting_waits_then_dies_and_stops_no_other(
    build, broker, running, receiver
):
    other = build.chat(id="other", url_setting="other")
    one = running(build.chat(), other, urls={"chat": receiver.url}, give_up_hours=2)
    assert one.targets.missing() == ["nordlicht/other: KLINGEL_NOTIFIER__TARGETS__OTHER is not set"]
    broker.append(build.output(build.escalation(1, target="other")))
    broker.append(build.output(build.escalation(2)))
    await one.settle()
    assert receiver.keys == [key(2)]
    assert one.counted("klingel_notifications_waiting", state="unset") == 1
    await one.go_on(7199)
    assert one.letters() == []
    await one.go_on(3)
    (letter,) = map(KeptDeadLetter, one.letters())
    assert letter.kind == "target_unreachable"
    assert letter.word("__connect.errors.exception.message") == (
        "target other: KLINGEL_NOTIFIER__TARGETS__OTHER is not set"
    )


async def test_a_target_that_no_brand_file_declares_waits_for_it(build, broker, running, receiver):
    one = running(urls={"chat": receiver.url})
    broker.append(build.output(build.escalation()))
    await one.settle()
    assert receiver.requests == []
    one.targets.take(build.config(build.chat()))
    await one.settle()
    assert receiver.keys == [key(1)]


async def test_what_waits_in_memory_is_bounded(build, broker, running):
    one = running(
        build.chat(), build.chat(id="other"), options=NotifierOptions(
            commit_seconds=0, waiting_bytes=5_000
        ),
    )  # fmt: skip
    for number in range(1, 31):
        broker.append(build.output(build.escalation(number)))
    broker.append(build.output(build.escalation(99, target="other")))
    await one.settle()
    await one.settle()
    assert sum(mailbox.size for mailbox in one.notifier._mailboxes.values()) <= 5_000
    dead = [codec.decode(Notification, each.value) for each in one.letters()]
    assert {each.target for each in dead} == {"shift-chat"}
    waiting = [addressee for addressee in one.notifier._addressees() if addressee.waiting]
    left = {(addressee.target, matter) for addressee in waiting for matter in addressee.waiting}
    assert len(left) + len(dead) == 31


# ---------------------------------------------------------------------- digest


async def test_many_at_once_are_one_digest_and_each_is_in_it(build, broker, running, receiver):
    one = running(build.chat(), urls={"chat": receiver.url})
    for number in range(1, 8):
        broker.append(build.output(build.escalation(number)))
    await one.settle()
    assert len(receiver.requests) == 1
    assert receiver.keys[0].startswith("digest_")
    assert "7 notifications" in texts(receiver)[0]
    assert all(f"c{number}:customer{number}#1" in texts(receiver)[0] for number in range(1, 8))


async def test_a_trickle_that_becomes_a_flood(build, broker, running, receiver):
    """Four are told one by one; from the fifth on they wait for the end of the window."""
    one = running(build.chat(), urls={"chat": receiver.url})
    for number in range(1, 10):
        broker.append(build.output(build.escalation(number)))
        await one.go_on(1)
    assert len(receiver.requests) == 4
    await one.go_on(30)
    assert len(receiver.requests) == 5
    assert "5 notifications" in texts(receiver)[-1]
    await one.go_on(600)
    assert len(receiver.requests) == 5


async def test_a_digest_lists_its_members_in_an_order_of_their_own(
    build, broker, running, receiver
):
    one = running(build.hook(), urls={"hook": receiver.url, "secret": build.secret})
    for number in (3, 1, 2, 5, 4):
        broker.append(build.output(build.escalation(number, target="hook")))
    await one.settle()
    ((_, _, body),) = receiver.requests
    told = json.loads(body)
    assert told["type"] == "digest"
    assert [each["key"] for each in told["data"]["items"]] == [
        key(number) for number in range(1, 6)
    ]


# ---------------------------------------------------------------------- quiet


async def night(build, running, receiver, clock, **target):
    clock.advance(9 * 3600)  # 21:00
    return running(
        build.chat(quiet="desk", **target), urls={"chat": receiver.url}, calendars=[NIGHT]
    )


async def test_what_comes_in_quiet_hours_is_sent_together_at_the_opening(
    build, broker, running, receiver, clock
):
    one = await night(build, running, receiver, clock)
    for number in (1, 2, 3):
        broker.append(build.output(build.escalation(number)))
        await one.go_on(60)
    assert receiver.requests == []
    assert one.counted("klingel_notifications_waiting", state="quiet") == 3
    assert committed(broker, Topic.ESCALATIONS) == ends(broker, Topic.ESCALATIONS)
    await one.end()
    two = running(build.chat(quiet="desk"), urls={"chat": receiver.url}, calendars=[NIGHT])
    await two.settle()
    await two.go_on(11 * 3600 - 181)
    assert receiver.requests == []
    await two.go_on(1)
    assert len(receiver.requests) == 1
    assert "3 notifications" in texts(receiver)[0]


async def test_what_was_withdrawn_meanwhile_is_left_out_and_what_ended_is_told_as_such(
    build, broker, running, receiver, clock
):
    one = await night(build, running, receiver, clock)
    for number, state in ((1, "withdrawn"), (2, "ended"), (3, "acknowledged")):
        broker.append(build.output(build.escalation(number)))
        await one.settle()
        broker.append(build.output(build.escalation(number, state=state, revision=2)))
        await one.settle()
    ended = build.alert(state="ended", ended_at=clock.now(), updated_at=clock.now(), revision=9)
    broker.append(build.output(ended))
    await one.settle()
    await one.go_on(11 * 3600)
    assert len(receiver.requests) == 1
    assert "customer3" in texts(receiver)[0]
    assert "Acknowledged: " in texts(receiver)[0]
    assert "Over: Negative posts about outage" in texts(receiver)[0]
    assert "customer1" not in texts(receiver)[0]
    assert "customer2" not in texts(receiver)[0]
    assert one.counted("klingel_discarded_total", reason="over") == 2


async def test_who_was_told_is_also_told_that_it_is_withdrawn(build, broker, running, receiver):
    one = running(build.chat(), urls={"chat": receiver.url})
    broker.append(build.output(build.escalation()))
    await one.settle()
    broker.append(build.output(build.escalation(state="withdrawn", revision=2)))
    await one.settle()
    assert receiver.keys == [key(1), key(1, 2)]
    assert "Withdrawn: First response" in texts(receiver)[1]


async def test_what_was_over_long_before_it_came_is_not_told(build, broker, running, receiver):
    """A notifier that starts for the first time reads ninety days."""
    one = running(build.chat(), urls={"chat": receiver.url})
    long_ago = build.noon - timedelta(days=40)
    over = build.alert(state="ended", opened_at=long_ago, updated_at=long_ago, ended_at=long_ago)
    broker.append(build.output(over))
    await one.settle()
    assert receiver.requests == []


async def test_quiet_time_does_not_count_towards_giving_up(build, broker, running, receiver, clock):
    clock.advance(9 * 3600)
    one = running(
        build.chat(quiet="desk"),
        urls={"chat": receiver.url},
        calendars=[NIGHT],
        give_up_hours=1,
    )
    broker.append(build.output(build.escalation()))
    await one.settle()
    await one.go_on(11 * 3600)
    assert receiver.keys == [key(1)]
    assert one.letters() == []


async def test_a_record_of_ours_that_is_none_is_a_dead_letter_once(
    build, broker, running, receiver
):
    one = running(build.chat(), urls={"chat": receiver.url})
    await one.settle()
    odd = build.output(build.escalation())
    broker.append(type(odd)(Topic.NOTIFICATIONS, b"x", b'{"entry": "perhaps"}'))
    await one.settle()
    assert [KeptDeadLetter(each).kind for each in one.letters()] == ["schema"]
    again = running(build.chat(), urls={"chat": receiver.url})
    await again.settle()
    assert len(again.letters()) == 1
    assert isinstance(again.letters()[0], Message)


# ---------------------------------------------------------------------- privacy


async def test_what_a_record_holds_beside_its_shape_is_passed_on_to_nobody(
    build, broker, running, receiver, capsys
):
    """Neither a customer's words nor an address or a secret reach what we send, log or count."""
    one = running(build.hook(), urls={
        "hook": receiver.url + "/canary-path", "secret": build.secret,
    })  # fmt: skip
    good = build.output(build.escalation(target="hook"))
    words = json.loads(good.value) | {"text": "canary-words", "author": {"handle": "canary-handle"}}
    broker.append(
        type(good)(
            good.topic, good.key, json.dumps(words).encode(), partition_key=good.partition_key
        )
    )
    receiver.plan = [500, 404]
    await one.settle()
    await one.go_on(60)
    assert len(receiver.requests) == 2
    logs = capsys.readouterr()
    told = b"".join(body for _, _, body in receiver.requests)
    kept = b"".join(each.value or b"" for each in broker.messages(Topic.NOTIFICATIONS))
    letters = b"".join(
        (each.value or b"") + b"".join(value for _, value in each.headers) for each in one.letters()
    )
    for place in (told, kept, letters, one.metrics.render(), logs.out.encode(), logs.err.encode()):
        assert b"canary" not in place
        assert build.secret.encode() not in place
        assert receiver.url.encode() not in place
    assert b"not_told" in logs.out.encode()


async def test_mail_goes_through_the_same_loop(build, broker, running, clock):
    """And a server that is not there is tried again, with the same mail."""
    mail = build.chat(id="shift-chat", kind="email", to=("kim@example.org",), url_setting=None)
    one = running(mail, smtp_host="127.0.0.1", smtp_port=9, smtp_security="none")
    broker.append(build.output(build.escalation()))
    await one.settle()
    assert one.counted("klingel_retries_total", reason="unreachable") == 1
    await one.go_on(1)
    assert one.counted("klingel_retries_total", reason="unreachable") == 2
    assert one.letters() == []


# ---------------------------------------------------------------------- our own faults


async def test_a_record_without_words_is_a_dead_letter_and_the_others_are_told(
    build, broker, running, receiver
):
    """A time that UTC has not: no display can show it."""
    one = running(build.chat(), urls={"chat": receiver.url})
    never = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    for number in range(1, 7):
        record = build.escalation(number, **({"deadline": never} if number == 3 else {}))
        broker.append(build.output(record))
    await one.settle()
    (letter,) = map(KeptDeadLetter, one.letters())
    assert letter.kind == "unhandled"
    assert len(receiver.requests) == 1
    assert "5 notifications" in texts(receiver)[0]
    assert "customer3" not in texts(receiver)[0]


class Faulty:
    """A sender whose own code is wrong."""

    async def send(self, letter):
        """Raise what no sender should."""
        raise ZeroDivisionError(letter.key)


async def test_what_our_own_code_raises_on_is_a_dead_letter_and_the_target_goes_on(
    build, broker, running, receiver
):
    one = running(build.chat(), build.hook(), urls={"chat": receiver.url})
    one.targets._build = lambda _target: Faulty()
    one.targets.take(build.config(build.hook()))
    broker.append(build.output(build.escalation(target="hook")))
    await one.settle()
    (letter,) = map(KeptDeadLetter, one.letters())
    assert letter.kind == "target_refused"
    assert letter.word("__connect.errors.exception.message") == (
        "target hook answered nothing: our own code raised ZeroDivisionError"
    )


async def test_a_bad_deploy_does_not_empty_an_input_into_the_dead_letters(
    build, broker, running, receiver, monkeypatch
):
    """Planted: our code raises on every escalation. Alerts go on."""
    right = service.take_in

    def wrong(message, now):
        if message.topic is Topic.ESCALATIONS:
            raise ZeroDivisionError
        return right(message, now)

    monkeypatch.setattr(service, "take_in", wrong)
    one = running(build.chat(), urls={"chat": receiver.url})
    for number in range(400):
        output = build.output(build.escalation(number))
        broker.append(type(output)(output.topic, output.key, output.value, partition=1))
    await one.settle()
    broker.append(build.output(build.alert()))
    await one.settle()
    assert len(one.letters()) == 49
    assert receiver.keys == [f"alert_{1:032x}_1"]
    assert committed(broker, Topic.ESCALATIONS) == [0, 49, 0]
    assert not one.notifier.ready
    assert one.counted("klingel_partitions_paused") == 1
    monkeypatch.setattr(service, "take_in", right)
    mended = running(build.chat(), urls={"chat": receiver.url})
    await mended.settle()
    assert mended.notifier.ready
    assert committed(broker, Topic.ESCALATIONS) == [0, 400, 0]
    await mended.go_on(60)
    told = {headers["idempotency-key"] for _, headers, _ in receiver.requests}
    assert len(told) > 1
