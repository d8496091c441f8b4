"""`klingel case` and `klingel incident`: what is said of wrong input, what is asked and given."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from klingel.contracts import codec
from klingel.contracts.outputs import command_output
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.domain.commands import Refusal
from klingel.errors import ConfigurationError
from klingel.model import CaseCommand
from klingel.model.case import Counted
from klingel_cli.casework import (
    REFUSALS,
    Place,
    command_of,
    place_of,
    printable,
    spoken,
)
from klingel_cli.commands.case import counted_lines, explained, filters
from klingel_cli.commands.incident import Closing, close_all, closing_of

from ..caseload import Caseload

NOBODY = {
    "KLINGEL_KAFKA__BOOTSTRAP": "127.0.0.1:9",
    "KLINGEL_ELASTICSEARCH__URL": "http://127.0.0.1:9",
}
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CASE = "nordlicht:bluesky:network:root:did:plc:anna#2"
ROOT = "bluesky:network:root"
NAMED = ("--brand", "nordlicht", "--conversation", ROOT, "--customer", "did:plc:anna")


# -- wrong input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("ack",), "name the case: its id, or --brand, --conversation and --customer"),
        (("ack", *NAMED[:4]), "name the case"),
        (("ack", CASE, "--brand", "other"), "the case is one of nordlicht, not of other"),
        (("ack", CASE, "--conversation", "c"), "the case does not lie in this conversation"),
        (("ack", "Nord*:c:u#1"), "the name of a brand is of a-z, 0-9 and -"),
        (("assign", *NAMED), "say who works on it: --to AGENT, or --nobody"),
        (("assign", *NAMED, "--to", "jo", "--nobody"), "say who works on it"),
        (("assign", *NAMED, "--to", ""), "assignee"),
        (("assign", *NAMED, "--to", "x" * 121), "assignee"),
        (
            ("ack", "--brand", "nordlicht", "--conversation", "a\nb", "--customer", "u"),
            "$.conversation_id",
        ),
        (("snooze", *NAMED), "say how long it sleeps: --until TIME or --for DURATION"),
        (("snooze", *NAMED, "--for", "4h", "--until", "2030-01-01T00:00:00Z"), "say how long"),
        (("snooze", *NAMED, "--until", "2020-01-01T00:00:00Z"), "--until lies ahead"),
        (("snooze", *NAMED, "--until", "tomorrow"), "a time looks like"),
        (("snooze", *NAMED, "--for", "soon"), "write a number and a unit"),
        (("override", *NAMED), "say what is decided"),
        (("override", *NAMED, "--tone", "negative"), "are those of a --post"),
        (("override", *NAMED, "--post", "bluesky:network:1"), "a --post needs one"),
        (("override", *NAMED, "--priority", "1001"), "1001"),
        (("override", *NAMED, "--tone", "cross"), "cross"),
        (("split", *NAMED), "--post"),
        (("ack", *NAMED, "--wait", "nan"), "write a number of seconds"),
        (("ack", *NAMED, "--wait", "0"), "0"),
        (("show", ""), "an id is not empty"),
        (("merge", CASE, CASE), "a case is not merged into itself"),
        (("show", "no case"), "the name of a brand is"),
        (("list", "--waiting-longer-than", "91d"), "the longest is 90d"),
        (("list", "--state", "gone"), "gone"),
    ],
)
def test_wrong_input_is_exit_2_with_one_sentence(run, arguments, sentence) -> None:
    """Nothing is asked of a server before what was written is right."""
    result = run("case", *arguments, env=NOBODY)
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["show", "close"])
def test_an_incident_is_named_with_its_brand(run, command) -> None:
    result = run("incident", command, "a" * 32, env=NOBODY)
    assert (result.exit_code, "--brand" in result.stderr) == (2, True)
    result = run("incident", command, "a" * 32, "--brand", "No Brand", env=NOBODY)
    assert result.exit_code == 2
    assert "the name of a brand" in result.stderr
    result = run("incident", command, "", "--brand", "nordlicht", env=NOBODY)
    assert (result.exit_code, result.stderr) == (2, "klingel: an id is not empty\n")


@pytest.mark.parametrize(
    "arguments", [("case", "list"), ("case", "show", CASE), ("case", "ack", CASE)]
)
def test_without_elasticsearch_it_is_named_and_exit_3(run, arguments) -> None:
    result = run(*arguments, env=NOBODY)
    assert result.exit_code == 3
    assert "Elasticsearch at http://127.0.0.1:9 does not answer" in result.stderr


def test_every_refusal_has_one_sentence() -> None:
    assert set(REFUSALS) == set(Refusal)
    assert all(sentence and "\n" not in sentence for sentence in REFUSALS.values())


# -- which case ----------------------------------------------------------------------------------


def test_a_case_id_and_its_conversation_tell_the_case_without_a_server() -> None:
    """Both may hold colons: the conversation says where the customer begins."""
    assert place_of(None, CASE, None, ROOT, None) == Place("nordlicht", ROOT, CASE, "did:plc:anna")
    assert place_of(None, None, "nordlicht", ROOT, "anna") == Place("nordlicht", ROOT, None, "anna")


@pytest.mark.parametrize("case_id", [f"nordlicht:{ROOT}:#1", f"nordlicht:{ROOT}:anna", CASE[:-1]])
def test_what_is_no_case_id_is_told(case_id) -> None:
    with pytest.raises(ConfigurationError, match="does not lie in this conversation"):
        place_of(None, case_id, None, ROOT, None)


def test_a_command_says_who_and_when_and_lies_with_its_conversation() -> None:
    place = Place("nordlicht", ROOT, CASE, "did:plc:anna")
    command = command_of("assign", place, "maike", NOW, assignee="jo")
    output = command_output(command, "klingel/cli")
    assert output.topic is Topic.CASE_COMMANDS
    assert output.partition_key == conversation_key("nordlicht", ROOT)
    assert output.key == command.command_id.encode()
    read = codec.decode(CaseCommand, output.value)
    assert (read.kind, read.by, read.at, read.assignee) == ("assign", "maike", NOW, "jo")
    assert (read.case_id, read.customer_id) == (CASE, None)
    again = command_of("assign", place, "maike", NOW, assignee="jo")
    assert again.command_id != command.command_id


def test_without_a_case_id_the_customer_s_newest_is_meant() -> None:
    command = command_of("close", Place("nordlicht", ROOT, None, "anna"), "maike", NOW)
    assert (command.case_id, command.customer_id) == (None, "anna")


# -- lists ---------------------------------------------------------------------------------------


def test_a_list_asks_for_what_is_not_over_and_never_for_what_was_taken_back() -> None:
    assert filters(NOW) == {
        "filter": [{"terms": {"state": ["open", "waiting", "snoozed"]}}],
        "must_not": [{"term": {"closed_because": "withdrawn"}}],
    }


def test_each_filter_is_a_condition() -> None:
    asked = filters(
        NOW,
        brand="nordlicht",
        queue="first",
        states=("closed",),
        assignee="jo",
        late=True,
        waiting=timedelta(minutes=90),
    )
    assert asked["filter"][:4] == [
        {"term": {"brand": "nordlicht"}},
        {"term": {"queue": "first"}},
        {"terms": {"state": ["closed"]}},
        {"term": {"assignee": "jo"}},
    ]
    assert {"range": {"waiting_since": {"lt": "2026-03-02T10:30:00+00:00"}}} in asked["filter"]
    assert {"exists": {"field": "assignee"}} in filters(NOW, assignee="-")["must_not"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (3700, "1h 01m"), (180_000, "2d 2h")],
)
def test_a_duration_is_said_as_people_do(seconds, words) -> None:
    assert spoken(seconds) == words


def test_what_a_network_hides_in_an_id_is_written_out() -> None:
    """Neither a terminal nor a reader is led astray."""
    assert printable("a\x9b31m\u202eb") == "a\\x9b31m\\u202eb"
    assert printable("störung [ü]") == "störung [ü]"


def test_the_counted_intervals_of_every_clock_add_up_to_its_target() -> None:
    """To the second, whatever stood in between."""
    load = Caseload(40, seed=11)
    clocks = [clock for case in load.cases() for clock in explained(case)]
    assert {clock["name"] for clock in clocks} == {
        "first_response",
        "next_response",
        "resolution",
    }
    for clock in clocks:
        assert sum(each["seconds"] for each in clock["intervals"]) == clock["target_seconds"]
        assert clock["zone"] == "Europe/Berlin"


def test_what_a_clock_counted_before_the_pauses_that_are_kept_is_part_of_its_sum() -> None:
    """A clock that stood very often tells it as one sum, and once the deadline is in it no more."""
    (case, *_) = Caseload(1, seed=11).cases()
    clock = next(each for each in case.clocks or () if each.name == "resolution")
    until = clock.counts_from + timedelta(seconds=600)
    some = replace(clock, pauses=None, counted=Counted(until=until, seconds=600))
    over = Counted(
        until=clock.deadline,
        seconds=clock.target_seconds + 5,
        deadline=clock.deadline,
        warn_at=clock.warn_at,
    )
    partly, wholly = explained(
        replace(case, clocks=[some, replace(clock, pauses=None, counted=over)])
    )
    sums = [each["seconds"] for each in partly["intervals"]]
    assert partly["before"]["seconds"] + sum(sums) == clock.target_seconds
    lines = [*counted_lines(partly)]
    assert lines[0].startswith("before ")
    assert lines[0].endswith(" 600 s")
    assert lines[-1].endswith(f" {clock.target_seconds:,} s")
    assert wholly["intervals"] == []
    assert len([*counted_lines(wholly)]) == 2


# -- the end of an incident ----------------------------------------------------------------------


class Cases:
    """Cases of an incident: closed two looks after their command, as an index shows it."""

    def __init__(self, *names: str) -> None:
        self.revisions = dict.fromkeys(names, 1)
        self.looks = 0
        self.due: list[tuple[int, str]] = []
        self.given: list[str] = []
        self.joins: dict[int, str] = {}

    def open(self) -> list[CaseCommand]:
        """Look."""
        self.looks += 1
        for at, name in self.due:
            if at == self.looks:
                self.revisions.pop(name, None)
        if self.looks in self.joins:
            self.revisions[self.joins[self.looks]] = 7
        return [
            closing_of(
                "nordlicht", "i" * 32, f"nordlicht:c:{name}#1", "c", revision, by="m", at=NOW
            )
            for name, revision in sorted(self.revisions.items())
        ]

    def give(self, commands: list[CaseCommand]) -> None:
        """Close what is asked for, soon."""
        for command in commands:
            name = (command.case_id or "")[len("nordlicht:c:") : -2]
            self.given.append(name)
            self.due.append((self.looks + 2, name))


def test_an_incident_is_closed_until_none_is_open_and_each_case_is_told_once() -> None:
    cases, lines = Cases("anna", "bert"), []
    closing = close_all(cases.open, cases.give, lambda: True, lines.append)
    assert cases.given == ["anna", "bert"]
    assert closing == Closing(commands=2, rounds=4, left=0)
    assert lines == ["2 cases are open; 2 commands are given"]


def test_who_joins_meanwhile_and_who_comes_back_is_closed_too() -> None:
    """A case that its customer opened again has another revision, so another command."""
    cases = Cases("anna")
    cases.joins = {2: "bert", 4: "anna"}
    closing = close_all(cases.open, cases.give, lambda: True, lambda _line: None)
    assert cases.given == ["anna", "bert", "anna"]
    assert (closing.commands, closing.left) == (3, 0)


def test_an_index_that_lags_once_is_not_believed() -> None:
    cases = Cases()
    cases.joins = {2: "anna"}
    closing = close_all(cases.open, cases.give, lambda: True, lambda _line: None)
    assert (cases.given, closing.left) == (["anna"], 0)


def test_it_gives_up_in_the_end_and_says_how_many_are_left() -> None:
    cases, lines = Cases("anna", "bert"), []
    closing = close_all(cases.open, lambda _commands: None, lambda: cases.looks < 5, lines.append)
    assert closing == Closing(commands=2, rounds=5, left=2)
    assert len(lines) == 1


def test_the_same_revision_is_closed_by_the_same_command() -> None:
    made = [
        closing_of("nordlicht", "i", CASE, ROOT, revision, by="maike", at=NOW)
        for revision in (3, 3, 4)
    ]
    assert made[0].command_id == made[1].command_id != made[2].command_id
    assert (made[0].kind, made[0].target) == ("incident_closed", "i")
    assert json.loads(command_output(made[0], "klingel/cli").value)["case_id"] == CASE
