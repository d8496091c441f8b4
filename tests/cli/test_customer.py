"""`klingel customer`: wrong input, what is merged; links on the real servers."""

import json
from datetime import UTC, datetime

import pytest

from klingel.domain.identity_links import link, links_of
from klingel_cli.commands.customer import link_output, merges_of

NOBODY = {
    "KLINGEL_KAFKA__BOOTSTRAP": "127.0.0.1:9",
    "KLINGEL_ELASTICSEARCH__URL": "http://127.0.0.1:9",
}
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
BSUID, PHONE, X = "whatsapp:bsuid:DE.1", "whatsapp:phone:1f", "x:1492"
BRAND = ("--brand", "nordlicht")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("link", BSUID, X, *BRAND), "--consent"),
        (("link", BSUID, X, "--consent", "asked"), "--brand"),
        (("link", BSUID, X, *BRAND, "--consent", ""), "consent has 1 to 500 characters"),
        (("link", BSUID, X, *BRAND, "--consent", "x" * 501), "consent has 1 to 500 characters"),
        (("link", BSUID, BSUID, *BRAND, "--consent", "asked"), "not linked with itself"),
        (("link", BSUID, "1492", *BRAND, "--consent", "asked"), "<network>:<author id>"),
        (("link", BSUID, X, "--brand", "Nord*", "--consent", "asked"), "a brand is of a-z"),
        (
            ("link", X, "whatsapp:username:ab", *BRAND, "--consent", "asked"),
            "a username may be somebody else's tomorrow",
        ),
        (("unlink", BSUID, X, *BRAND), "--reason"),
        (("unlink", BSUID, X, *BRAND, "--reason", ""), "a reason has 1 to 500 characters"),
        (("unlink", BSUID, BSUID, *BRAND, "--reason", "moved"), "not unlinked from itself"),
        (("unlink", BSUID, "1492", *BRAND, "--reason", "moved"), "<network>:<author id>"),
        (("show", "1492", *BRAND), "<network>:<author id>"),
        (("show", "x:\x01", *BRAND), "<network>:<author id>"),
    ],
)
def test_wrong_input_is_exit_2_with_one_sentence(run, arguments, sentence) -> None:
    """Nothing is asked of a server before what was written is right."""
    result = run("customer", *arguments, env=NOBODY)
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.output.split())


def case(conversation: str, customer: str) -> dict[str, str]:
    return {
        "case_id": f"nordlicht:{conversation}:{customer}#1",
        "conversation_id": conversation,
        "customer_id": customer,
    }


def test_open_cases_go_on_in_the_one_with_the_smallest_id() -> None:
    given = link("nordlicht", BSUID, X, NOW, consent="asked", by="jule")
    cases = [case("x:network:9", X), case("x:network:5", X), case("whatsapp:49:chat/1", BSUID)]
    commands = list(merges_of(cases, given))
    assert [each.conversation_id for each in commands] == ["x:network:5", "x:network:9"]
    assert {each.into_conversation_id for each in commands} == {"whatsapp:49:chat/1"}
    assert {each.into_customer_id for each in commands} == {BSUID}
    assert {each.by for each in commands} == {"jule"}
    assert list(merges_of(cases[:1], given)) == []
    assert list(merges_of([case("g", X), case("g", BSUID)], given)) == []


@pytest.mark.servers
def test_links_are_given_and_shown(run, env, put, brand_file) -> None:
    """Two ids told by an object, one by a person."""
    assert run("config", "apply", brand_file, env=env).exit_code == 0
    put(link_output(each) for each in links_of("nordlicht", [BSUID, PHONE], NOW))
    put(link_output(each) for each in links_of("kuestenstrom", [BSUID, "whatsapp:phone:2"], NOW))
    unknown = ("customer", "show", "x:1", *BRAND, "--no-cases")
    assert run(*unknown, env=env).exit_code == 1
    given = run(
        "customer", "link", PHONE, X, *BRAND, "--consent", "asked, 4711", "--no-merge", env=env
    )
    assert given.exit_code == 0, given.output
    result = run("customer", "show", X, *BRAND, "--no-cases", "--json", env=env)
    told = json.loads(result.stdout)
    assert {each["id"] for each in told["ids"]} == {BSUID, PHONE, X}
    assert [each.get("consent") for each in told["links"]] == [None, "asked, 4711"]
    assert told["customer_id"] == X
    shown = run("customer", "show", PHONE, *BRAND, "--no-cases", env=env)
    assert BSUID in shown.output
    assert "asked, 4711" in shown.output
    other = run(
        "customer", "link", PHONE, X, "--brand", "nobody", "--consent", "a", "--no-merge", env=env
    )
    assert other.exit_code == 2
    assert "no brand nobody" in " ".join(other.output.split())


@pytest.mark.servers
def test_a_link_is_taken_back_and_stays_so_until_it_is_given_again(
    run, env, put, brand_file
) -> None:
    """Told by an object, taken back by a person, told again by a replay, given by a person."""
    assert run("config", "apply", brand_file, env=env).exit_code == 0
    told = [link_output(each) for each in links_of("nordlicht", [BSUID, PHONE], NOW)]
    put(told)

    def shown() -> dict:
        found = run("customer", "show", PHONE, *BRAND, "--no-cases", "--json", env=env)
        return json.loads(found.stdout)

    def ids() -> set[str]:
        return {each["id"] for each in shown()["ids"]}

    assert ids() == {BSUID, PHONE}
    back = ("customer", "unlink", BSUID, PHONE, *BRAND, "--reason", "number given away")
    assert run(*back, env=env).exit_code == 0
    assert ids() == {PHONE}
    (record,) = shown()["unlinked"]
    assert record["unlinked_because"] == "number given away"
    assert record["by"]
    put(told)
    assert ids() == {PHONE}
    assert run(*back, env=env).exit_code == 1
    again = ("customer", "link", PHONE, BSUID, *BRAND, "--consent", "asked", "--no-merge")
    assert run(*again, env=env).exit_code == 0
    assert ids() == {BSUID, PHONE}
    assert shown()["unlinked"] == []
    third = ("customer", "link", PHONE, X, *BRAND, "--consent", "asked", "--no-merge")
    assert run(*third, env=env).exit_code == 0
    apart = run("customer", "unlink", BSUID, X, *BRAND, "--reason", "wrong", env=env)
    assert apart.exit_code == 1
    assert "through other ids" in " ".join(apart.output.split())
