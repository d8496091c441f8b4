"""X, WhatsApp, Facebook comments, mail and Bluesky ring at once; each planted complaint is a case."""

import json

import pytest
from elasticsearch import Elasticsearch

from klingel.config.loader import load_brand
from klingel_cli.demo import processes
from klingel_cli.demo.check import check
from klingel_cli.demo.rehearsal import (
    Traffic,
    brand_file,
    furnish,
    open_services,
    truth_file,
)
from klingel_simulator import mail_imap, x_server, x_source
from klingel_simulator.networks import ADDRESS, COMPLAINTS, MAILBOX, NUMBER, PAGE

BRAND = "nordlicht"
TRAFFIC = Traffic(5, 60, 20, 40, rate=900)


def quiet(_sentence):
    """Take progress that nobody reads."""


def first_of_each(lines):
    """Return the object that each network rang with first: its planted complaint."""
    found = {}
    for line in lines:
        found.setdefault(line["network"], line["object_id"])
    return found


def test_the_example_brand_has_the_accounts_at_which_the_simulated_networks_ring():
    brand = load_brand(brand_file()).brand
    accounts = {(each.network, each.id) for each in brand.accounts}
    assert {
        ("x", x_source.BRAND_ID),
        ("whatsapp", NUMBER),
        ("facebook", PAGE),
        ("email", ADDRESS),
    } <= accounts
    assert ("email", MAILBOX) in {(each.network, each.id) for each in brand.channels}


def test_a_fleet_knows_the_logins_of_the_simulated_networks():
    server = mail_imap.MailServer()
    assert (server.username, server.password) == processes.MAIL_LOGIN
    assert x_server.TOKEN == processes.X_TOKEN
    assert (processes.MAILBOX, processes.MAIL_ADDRESS) == (MAILBOX, ADDRESS)


@pytest.mark.servers
def test_every_network_rings_and_each_planted_complaint_becomes_a_case(fleet, index, servers):
    furnish(fleet, brand_file(), quiet)
    open_services(fleet, quiet, brand_file())
    result = check(fleet, index, TRAFFIC, brand_file(), 180, quiet)
    assert [*result.sentences()] == []
    networks = result.told()["networks"]
    assert {"x", "whatsapp", "facebook", "email", "bluesky", "webhook"} <= set(networks)
    truth = truth_file(fleet, "networks").read_text(encoding="utf-8").splitlines()
    planted = first_of_each(json.loads(line) for line in truth)
    assert set(planted) == set(COMPLAINTS)
    with Elasticsearch(servers.elasticsearch_url) as client:
        for network, object_id in planted.items():
            found = client.search(
                index=f"{fleet.prefix}events-{BRAND}-*", query={"term": {"object_id": object_id}}
            )
            (hit,) = found["hits"]["hits"]
            document = hit["_source"]
            assert document["network"] == network
            assert COMPLAINTS[network] in document["text"]
            case = client.get(index=f"{fleet.prefix}cases-{BRAND}", id=document["case_id"])
            assert case["_source"]["network"] == network
    assert fleet.stop_all() == []
