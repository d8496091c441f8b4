"""The four networks of one stage: the ids that are told are those that receivers compute."""

from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest

from klingel_networks.contract import Delivery
from klingel_networks.email import mapping as email
from klingel_simulator.__main__ import main
from klingel_simulator.brand import Brand
from klingel_simulator.networks import (
    COMPLAINTS,
    MAILBOX,
    NETWORKS,
    PLANTED_KEY,
    planted,
    talk,
    to_mail,
)
from klingel_simulator.traffic import Mix

SEED = 20261123
AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def test_a_mail_is_known_by_the_id_that_the_connector_gives_it():
    said = [
        planted("email", SEED, Brand()),
        *talk("email", SEED, 200, Mix(noise=0, addressed=0.8), Brand()),
    ]
    ids = set()
    for each in said:
        mail, object_id = to_mail(each, SEED, AT)
        (piece,) = email.explode(Delivery(mail, {"source": MAILBOX}))
        assert email.identify(piece.native, piece.context).object_id == object_id, f"seed {SEED}"
        parsed = message_from_bytes(mail, policy=policy.default)
        text = parsed.get_payload(decode=True).decode()
        assert text == each.text, f"seed {SEED}"
        ids.add(object_id)
    assert len(ids) > 100


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_begins_with_its_complaint_whose_key_no_talk_has(network):
    brand = Brand()
    complaint = planted(network, SEED, brand)
    assert complaint.text == COMPLAINTS[network]
    own = [*talk(network, SEED, 200, Mix(), brand)]
    assert own == [*talk(network, SEED, 200, Mix(), brand)]
    assert PLANTED_KEY not in {each.key for each in own}
    assert complaint.person.did not in {each.person.did for each in own}
    others = [talk(each, SEED, 200, Mix(), brand) for each in NETWORKS if each != network]
    assert all([each.text for each in other] != [each.text for each in own] for other in others)


@pytest.mark.parametrize(
    ("secret", "more", "reason"),
    [("", (), "KLINGEL_STAGE_SECRET is not set"), ("s", ("--rate", "-1"), "must not be negative")],
)
def test_bad_options_are_told_in_one_sentence(monkeypatch, capsys, secret, more, reason):
    monkeypatch.setenv("KLINGEL_STAGE_SECRET", secret)
    monkeypatch.setenv("KLINGEL_STAGE_KEY", "sixteen bytes at least")
    arguments = ["--hook-url", "http://127.0.0.1:1/hook/meta", "--secret-env"]
    arguments += ["KLINGEL_STAGE_SECRET", "--key-env", "KLINGEL_STAGE_KEY"]
    assert main(["networks", *arguments, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
