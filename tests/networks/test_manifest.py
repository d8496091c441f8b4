"""Manifests and quality files: what is wrong is named with file, line and rule."""

from importlib.resources import files

import pytest
from pydantic import SecretStr, ValidationError

from klingel.errors import ConfigurationError
from klingel_networks.manifest import CLAUSES, read_manifest, read_quality
from klingel_networks.registry import installed

NAMES = ("bluesky", "replay", "webhook")


def text_of(name: str, file: str) -> str:
    """Return a manifest's text."""
    return (files(f"klingel_networks.{name}") / file).read_text()


def complaint(text: str, read=read_manifest) -> str:
    """Return the sentence with which a file is refused."""
    with pytest.raises(ConfigurationError) as caught:
        read(text, "connector.yaml")
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_manifests_are_valid(name):
    """Each reads, under its own name, with every clause judged and every todo's issue named."""
    assert installed().manifest(name).name == name
    clauses = installed().quality(name).clauses
    assert set(clauses) == set(CLAUSES) == {f"K{number}" for number in range(1, 16)}
    assert {each.issue for each in clauses.values() if each.status == "todo"} <= {6, 7}


def test_mistakes_are_named_with_file_and_line():
    """Unknown key, wrong value, wrong type, missing key, key given twice, broken YAML."""
    good = text_of("bluesky", "connector.yaml")
    assert "mode: stream" in good
    line = good.splitlines().index("mode: stream") + 1
    told = complaint(good.replace("mode: stream", "mode: firehose"))
    assert told.startswith(f"connector.yaml, line {line}: mode: ")
    assert "'poll', 'stream' or 'webhook'" in told
    told = complaint(good.replace("mode: stream", "mode: stream\ncolour: red"))
    assert told.startswith(f"connector.yaml, line {line + 1}: colour: ")
    assert "inclusive: " in complaint(good.replace("inclusive: true", "inclusive: 'yes'"))
    assert "mode: Field required" in complaint(good.replace("mode: stream\n", ""))
    assert complaint(good.replace("mode: stream", "mode: stream\nmode: poll")).endswith("twice")
    assert "connector.yaml, line" in complaint(good + "\n  - x: [")
    assert "connector.yaml, line 1: the file: " in complaint("7")


def test_a_capability_matrix_knows_its_kinds_and_changes():
    """What is not declared is not delivered; an unknown kind is refused."""
    manifest = installed().manifest("bluesky")
    assert manifest.delivers("post", "deleted")
    assert not manifest.delivers("reply", "deleted")
    assert not manifest.delivers("email", "created")
    told = complaint(text_of("bluesky", "connector.yaml").replace("  post: [", "  tweet: ["))
    assert "tweet" in told


def test_quality_is_complete_and_todos_name_their_issue():
    """A missing clause, a todo without issue, a done with one, an exempt without comment."""
    good = text_of("bluesky", "quality.yaml")
    lines = good.splitlines()
    assert "missing: K9" in complaint("\n".join(x for x in lines if "K9:" not in x), read_quality)
    assert "names its issue" in complaint(
        good.replace("status: done", "status: todo", 1), read_quality
    )
    assert "names its issue" in complaint(
        good.replace("status: done,", "status: done, issue: 6,", 1), read_quality
    )
    assert "comment" in complaint(
        "\n".join("  K5: {status: exempt, comment: ''}" if "K5:" in x else x for x in lines),
        read_quality,
    )


def test_settings_are_typed_defaulted_and_secret():
    """Values by type, defaults where none is given, secrets wrapped and never shown."""
    manifest = installed().manifest("webhook")
    configured = manifest.configure({"secret": "whsec_canary", "wait_seconds": "60"})
    assert configured["wait_seconds"] == 60
    assert configured["limit_bytes"] == 1_048_576
    assert isinstance(configured["secret"], SecretStr)
    assert configured["secret"].get_secret_value() == "whsec_canary"
    assert "canary" not in repr(configured)
    assert (
        installed().manifest("replay").configure({"shift_to_now": "true"})["shift_to_now"] is True
    )


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("webhook", {}, "webhook.secret is missing"),
        (
            "webhook",
            {"secret": "s", "wait_seconds": "canary"},
            "webhook.wait_seconds must be an integer",
        ),
        ("webhook", {"secret": "s", "secrets": "canary"}, "webhook has no setting 'secrets'"),
        ("replay", {"shift_to_now": "canary"}, "replay.shift_to_now must be true or false"),
    ],
)
def test_wrong_settings_are_named_without_their_value(name, given, told):
    """The sentence names the setting; what was given never shows."""
    with pytest.raises(ConfigurationError) as caught:
        installed().manifest(name).configure(given)
    assert str(caught.value).startswith(told)
    assert "canary" not in str(caught.value)


def test_a_secret_can_have_no_default():
    """A default would be a secret in the repository."""
    text = text_of("webhook", "connector.yaml")
    told = complaint(
        text.replace("secret: true\n    required: true", "secret: true\n    default: x")
    )
    assert "a secret has no default" in told


def test_manifests_are_immutable():
    """Nobody changes a declaration at run time."""
    with pytest.raises(ValidationError):
        installed().manifest("webhook").name = "other"


def test_an_unknown_network_suggests_the_nearest():
    """The command line's user is helped."""
    with pytest.raises(ConfigurationError, match="did you mean bluesky"):
        installed().manifest("blusky")


def test_what_a_customer_asks_is_optional_and_checked():
    """Permissions, cost, delay, replay, deletes: read where given, refused where they disagree."""
    whole = text_of("bluesky", "connector.yaml")
    needed = whole[: whole.index("permissions:")].splitlines()
    good = "\n".join(line for line in needed if not line.startswith(("also:", "poll_seconds:")))
    more = """
family: bluesky
also: [webhook]
back_off: {connection: [0.25, 16], rate_limited: [60]}
permissions: [{name: read, purpose: "Reads.", review: "Two weeks."}]
access: ["Ask for a key."]
cost: {unit: posts read, price: "0.5 cent (price list, 2026-01)."}
latency: "Seconds."
replay: "36 hours."
deletes: "At once."
media: "By address, for ever."
not_possible: ["Private posts."]
"""
    read = read_manifest(good + more, "connector.yaml")
    assert read.back_off["connection"] == (0.25, 16)
    assert read.permissions[0].review == "Two weeks."
    assert read.not_possible == ("Private posts.",)
    for line, rule in (
        ("poll_seconds: 60", "poll_seconds is for what polls"),
        ("also: [stream]", "also repeats the mode"),
        ('cost: {unit: u, price: "p", budget: budget}', "cost.budget names no integer setting"),
        ("back_off: {connection: []}", "at least one entry"),
        ("back_off: {dns: [1]}", "'connection', 'http' or 'rate_limited'"),
        ("back_off: {http: [0]}", "greater than 0"),
    ):
        assert rule in complaint(f"{good}\n{line}\n")
