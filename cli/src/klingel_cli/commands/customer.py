"""`klingel customer`: which ids are one customer, and a link that a person gives."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import click
import msgspec

from klingel.contracts import codec, outputs
from klingel.contracts.envelope import Output
from klingel.contracts.topics import Topic
from klingel.domain.identity_links import Customers, is_passing, link, link_key, unlink
from klingel.errors import ConfigurationError, InvalidMessage
from klingel.model import CaseCommand, IdentityLink
from klingel.settings import ElasticsearchSettings, KafkaSettings
from klingel_cli.casework import OPEN, Json, Place, command_of, give, printable, search
from klingel_cli.commands.config import in_force, who
from klingel_cli.kafka import SOURCE, publish, reading
from klingel_cli.shell import FOUND_WRONG, Failure, Shell, as_json, pass_shell
from klingel_indexer.convert import cases_index

_MOST_CASES: Final = 1000
_SHOWN: Final = ("case_id", "conversation_id", "customer_id", "state", "queue", "opened_at")


@click.group("customer")
def customer_group() -> None:
    """See which ids are one customer of a brand, and link two of them.

    An id is <network>:<author id>, as the customer of a case; WhatsApp's author ids begin with
    bsuid:, phone: (a keyed hash) or username: (a keyed hash).
    """


@customer_group.command("show")
@click.argument("customer_id", metavar="ID")
@click.option("--brand", required=True, help="Whose customer it is.")
@click.option("--cases/--no-cases", default=True, help="Whether Elasticsearch is asked for cases.")
@as_json
@pass_shell
def show_customer(
    shell: Shell, customer_id: str, brand: str, *, cases: bool, as_json: bool
) -> None:
    """Show all ids of a customer, what links them, and his cases. Exit 1 when nobody knows him."""
    _checked(brand, customer_id, customer_id, shell)
    customers = read_customers(shell.settings.kafka, brand)
    ids = customers.ids_of(brand, customer_id)
    found = cases_of(shell.settings.elasticsearch, brand, ids) if cases else []
    if not customers.knows(brand, customer_id) and not found:
        raise Failure("no link and no case of this customer is known", FOUND_WRONG)
    links = customers.links_at(brand, customer_id)
    name = customers.name_of(brand, customer_id)
    if as_json:
        shell.tell(
            {
                "brand": brand,
                "customer_id": name,
                "ids": [{"id": each, "since": customers.since(brand, each)} for each in ids],
                "links": [msgspec.to_builtins(each) for each in links],
                "unlinked": [
                    msgspec.to_builtins(each) for each in customers.unlinked_at(brand, customer_id)
                ],
                "cases": found,
            }
        )
        return
    shell.say(f"{'customer':14} {printable(name)}")
    shell.say("\nids")
    shell.table(
        ("since", "id"), [(_minute(customers.since(brand, each)), printable(each)) for each in ids]
    )
    given = [each for each in links if each.consent is not None]
    _show_by_people(shell, "linked by people", "consent", given)
    _show_by_people(shell, "unlinked", "reason", customers.unlinked_at(brand, customer_id))
    if cases:
        shell.say("\ncases")
        shell.table(
            ("opened", "state", "queue", "case"),
            [
                (each.get("opened_at"), each["state"], each.get("queue"), each["case_id"])
                for each in found
            ],
        )


def _show_by_people(shell: Shell, title: str, why: str, found: list[IdentityLink]) -> None:
    if not found:
        return
    shell.say(f"\n{title}")
    shell.table(
        ("at", "ids", why, "by"),
        [
            (
                _minute(each.first_seen),
                printable(f"{each.one} {each.other}"),
                printable(each.unlinked_because or each.consent or ""),
                each.by,
            )
            for each in found
        ],
    )


@customer_group.command("link")
@click.argument("one", metavar="ID")
@click.argument("other", metavar="OTHER_ID")
@click.option("--brand", required=True, help="Whose customer it is.")
@click.option(
    "--consent", required=True, metavar="TEXT", help="What allows it: where the customer agreed."
)
@click.option("--merge/--no-merge", default=True, help="Whether his open cases go on as one.")
@as_json
@pass_shell
def link_customers(
    shell: Shell, one: str, other: str, brand: str, consent: str, *, merge: bool, as_json: bool
) -> None:
    """Say that two ids are one customer, of two networks too; his open cases go on as one.

    Nothing else links two networks. The consent stands in the link, with who gave it and when.
    """
    if one == other:
        raise ConfigurationError("an id is not linked with itself")
    given = _checked(brand, one, other, shell, consent)
    if any(is_passing(each) for each in (one, other)):
        raise ConfigurationError("a username may be somebody else's tomorrow: link the other id")
    kafka = shell.settings.kafka
    known = in_force(kafka)
    if brand not in known:
        names = ", ".join([*known][:20]) or "none"
        raise ConfigurationError(f"there is no brand {brand} in force; there are {names}")
    commands: list[CaseCommand] = []
    customers = read_customers(kafka, brand)
    again = [_taken_back(given)] if customers.unlinked(brand, one, other) else []
    if merge:
        customers.take(link_key(given), given)
        for each in again:
            customers.take(each.key, None)
        found = cases_of(shell.settings.elasticsearch, brand, customers.ids_of(brand, one), OPEN)
        commands = list(merges_of(found, given))
    publish(kafka, [*again, link_output(given)])
    give(kafka, commands)
    if as_json:
        shell.tell(
            {
                "link": msgspec.to_builtins(given),
                "merges": [msgspec.to_builtins(each) for each in commands],
            }
        )
        return
    shell.say(f"linked for {brand}; {len(commands)} open cases are told to go on in another")


@customer_group.command("unlink")
@click.argument("one", metavar="ID")
@click.argument("other", metavar="OTHER_ID")
@click.option("--brand", required=True, help="Whose customer it is.")
@click.option(
    "--reason", required=True, metavar="TEXT", help="Why: a consent withdrawn, a number given away."
)
@as_json
@pass_shell
def unlink_customers(
    shell: Shell, one: str, other: str, brand: str, reason: str, *, as_json: bool
) -> None:
    """Take the link of two ids back, whoever gave it; what tells it again changes nothing.

    The reason stands beside the link, with who took it back and when; `klingel customer link` links
    the two again. Cases that went on as one stay one. Exit 1 when the two are not linked.
    """
    if one == other:
        raise ConfigurationError("an id is not unlinked from itself")
    taken_back = _valid(
        lambda: unlink(brand, one, other, shell.now(), because=reason, by=who()), "a reason"
    )
    customers = read_customers(shell.settings.kafka, brand)
    if not customers.linked(brand, one, other):
        if other in customers.ids_of(brand, one):
            raise Failure(
                "these two are one customer through other ids only: unlink one of those links, "
                "klingel customer show tells them",
                FOUND_WRONG,
            )
        raise Failure("no link of these two is known", FOUND_WRONG)
    publish(shell.settings.kafka, [link_output(taken_back)])
    if as_json:
        shell.tell({"unlinked": msgspec.to_builtins(taken_back)})
        return
    shell.say(f"unlinked for {brand}; cases that went on as one stay one")


def _taken_back(given: IdentityLink) -> Output:
    """Return the tombstone of the record that took the link of these two back."""
    before = unlink(
        given.brand, given.one, given.other or given.one, given.first_seen, because="-", by="-"
    )
    return msgspec.structs.replace(link_output(before), value=None)


def read_customers(kafka: KafkaSettings, brand: str) -> Customers:
    """Read which ids are one customer of a brand; raises KafkaError, SourceUnavailable."""
    customers = Customers()
    begin = f"{brand}|".encode()
    with reading(kafka) as log:
        for message in log.read_whole(Topic.IDENTITY_LINKS):
            if message.key is None or not message.key.startswith(begin):
                continue
            try:
                value = message.value
                known = None if value is None else codec.decode(IdentityLink, value)
            except InvalidMessage:
                continue  # understand leaves it out too; it logs it
            customers.take(message.key, known)
    return customers


def cases_of(
    elasticsearch: ElasticsearchSettings,
    brand: str,
    ids: Iterable[str],
    states: Iterable[str] = (),
) -> list[Json]:
    """Return the cases of any of these ids, the newest first, at most 1,000.

    Args:
        elasticsearch: where cases are indexed.
        brand: brand.
        ids: of the customer.
        states: any of these; all where empty.

    Raises:
        ConfigurationError, SourceUnavailable, CredentialsRejected: see `search`.
    """
    asked: list[Json] = [{"terms": {"customer_id": list(ids)}}]
    if wanted := list(states):
        asked.append({"terms": {"state": wanted}})
    body: Json = {
        "query": {
            "bool": {"filter": asked, "must_not": [{"term": {"closed_because": "withdrawn"}}]}
        },
        "size": _MOST_CASES,
        "source": list(_SHOWN),
        "sort": [
            {"opened_at": {"order": "desc", "missing": "_last", "unmapped_type": "date"}},
            {"case_id": {"order": "asc", "unmapped_type": "keyword"}},
        ],
    }
    hits = search(elasticsearch, cases_index("", brand), body)["hits"]["hits"]
    return [hit["_source"] for hit in hits]


def merges_of(cases: Iterable[Json], given: IdentityLink) -> Iterator[CaseCommand]:
    """Yield what makes these cases of one customer one: the smallest id goes on.

    Two customers of one conversation stay two there, so the other case of it is left alone.
    """
    ordered = sorted(cases, key=lambda each: str(each["case_id"]))
    for loser in ordered[1:]:
        winner = ordered[0]
        if loser["conversation_id"] == winner["conversation_id"]:
            continue
        place = Place(given.brand, loser["conversation_id"], loser["case_id"], loser["customer_id"])
        yield command_of(
            "merge",
            place,
            given.by or "unknown",
            given.first_seen,
            target=winner["case_id"],
            into_conversation_id=winner["conversation_id"],
            into_customer_id=winner["customer_id"],
        )


def link_output(given: IdentityLink) -> Output:
    """Return the record of a link that a person gives or takes back."""
    return outputs.link_output(given, SOURCE)


def _checked(
    brand: str, one: str, other: str, shell: Shell, consent: str | None = None
) -> IdentityLink:
    """Return the link, checked against its shape; raises ConfigurationError."""
    by = who() if consent is not None else None
    return _valid(lambda: link(brand, one, other, shell.now(), consent=consent, by=by), "a consent")


def _valid(make: Callable[[], IdentityLink], text: str) -> IdentityLink:
    """Return a record, checked against its shape; raises ConfigurationError."""
    try:
        return codec.decode(IdentityLink, codec.encode(make()))
    except InvalidMessage as error:
        where = f"{error.path}: " if error.path else ""
        raise ConfigurationError(
            f"{where}an id is <network>:<author id>, a brand is of a-z, 0-9 and -, "
            f"{text} has 1 to 500 characters"
        ) from None
    except UnicodeEncodeError:
        raise ConfigurationError("an argument is no text in UTF-8") from None


def _minute(at: object) -> str | None:
    return None if at is None else f"{at:%Y-%m-%d %H:%M}Z"
