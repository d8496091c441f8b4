"""What the parts of a brand file say of one another, each wrong one with its line and its cure."""

from pathlib import Path

import pytest

from klingel.config.loader import BrandFileError, load_brand

HEAD = """brand: nordlicht
name: Nordlicht
queues:
  - id: service
  - id: late
enrichment:
  agents:
    - {code: mk}
topics:
  - {id: outage, query: dead}
targets:
  - {id: chat, kind: slack, url_setting: chat}
calendars:
  - id: office
    zone: Europe/Berlin
    hours: {mon-fri: ["08:00-20:00"]}
"""

WRONG = {
    "policy without a fallback": (
        "sla:\n  - {id: a, when: foo, first_response: 1h}\n",
        "sla.0: the last policy has to take every case",
    ),
    "policy of an unknown calendar": (
        "sla:\n  - {id: a, calendar: ofice, first_response: 1h}\n",
        "sla.0.calendar: there is no calendar 'ofice'; did you mean 'office'?",
    ),
    "query of a policy": (
        'sla:\n  - {id: a, when: "foo AND (", first_response: 1h}\n  - {id: b, first_response: 1h}\n',
        "sla.0.when: at character 9 of the query",
    ),
    "id twice": (
        "teams:\n  - {id: a}\n  - {id: a}\n",
        "teams.1.id: 'a' stands twice, first in line 18",
    ),
    "level of an unknown target": (
        "escalation:\n  - {id: a, on: [warned], notify: [chta]}\n",
        "escalation.0.notify.0: there is no target 'chta'; did you mean 'chat'?",
    ),
    "level that raises to itself": (
        "escalation:\n  - {id: a, on: [warned], raise_after: 5m, raise_to: a}\n",
        "escalation.0.raise_to: it raises to itself",
    ),
    "level that raises at no time": (
        "escalation:\n  - {id: a, on: [warned], raise_to: b}\n  - {id: b}\n",
        "escalation.0: raise_after and raise_to belong together",
    ),
    "level that nothing brings a case to": (
        "escalation:\n  - {id: a}\n",
        "escalation.0.on: nothing ever brings a case here",
    ),
    "levels that raise to each other alone": (
        "escalation:\n- {id: a, raise_after: 5m, raise_to: b}\n- {id: b, raise_after: 5m, raise_to: a}\n",
        "escalation.0.on: nothing ever brings a case here",
    ),
    "level on rules that names none": (
        "escalation:\n  - {id: a, on: [rule]}\n",
        "escalation.0.rules: on: [rule] needs the rules",
    ),
    "team of an unknown agent": (
        "teams:\n  - {id: a, agents: [xy]}\n",
        "teams.0.agents.0: there is no agent 'xy'; known are mk",
    ),
    "praise in an unknown queue": (
        "triage: {praise_queue: praise}\n",
        "triage.praise_queue: there is no queue 'praise'; known are service, late",
    ),
    "alerts to nobody": (
        "alerts: {notify: [nobody]}\n",
        "alerts.notify.0: there is no target 'nobody'",
    ),
    "silence of a network that is misspelt": (
        "channels: [{network: bluesky, id: main}]\nalerts: {dormant_after: {bluseky: 1h}}\n",
        "alerts.dormant_after.bluseky: the brand has nothing on 'bluseky'; did you mean 'bluesky'?",
    ),
    "silence of a channel of a network that is misspelt": (
        'channels: [{network: bluesky, id: main}]\nalerts: {dormant_after: {"bluseky:a": 1h}}\n',
        "alerts.dormant_after.bluseky:a: the brand has nothing on 'bluseky'; did you mean",
    ),
    "silence of what is no network": (
        "alerts: {dormant_after: {Blue Sky: 1h}}\n",
        "alerts.dormant_after.Blue Sky: it names no network; write `network` or `network:channel`",
    ),
    "silence of a channel without a name": (
        'alerts: {dormant_after: {"x:": 1h}}\n',
        "alerts.dormant_after.x:: it names no network; write `network` or `network:channel`",
    ),
    "rule on an unknown topic": (
        "routing:\n  - {id: a, topics: [outages], queue: late}\n",
        "routing.0.topics.0: there is no topic 'outages'; did you mean 'outage'?",
    ),
    "rule behind one that takes everything": (
        "routing:\n  - {id: a, queue: late}\n  - {id: b, when: foo, queue: service}\n",
        "routing.1: it can never hit: 'a' (line 18) takes all that it would; move it before",
    ),
    "rule that says what another said": (
        "routing:\n  - {id: a, when: foo, queue: late}\n  - {id: b, when: foo, queue: service}\n",
        "routing.1: it can never hit: 'a' (line 18) takes all that it would; both ask for the same",
    ),
}


def problems(tmp_path: Path, content: str) -> list[str]:
    path = tmp_path / "brand.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BrandFileError) as raised:
        load_brand(path)
    return [line.partition(f"{path}:")[2].partition(": ")[2] for line in raised.value.problems]


def test_the_head_alone_is_right(tmp_path: Path) -> None:
    path = tmp_path / "brand.yaml"
    path.write_text(HEAD, encoding="utf-8")
    assert load_brand(path).brand.brand == "nordlicht"


@pytest.mark.parametrize("place", ["bluesky", "bluesky:other", "x", "x:main", "webhook"])
def test_silence_may_be_told_of_networks_that_a_file_does_not_name(
    tmp_path: Path, place: str
) -> None:
    """Listening rules hear any network."""
    path = tmp_path / "brand.yaml"
    channels = "channels: [{network: bluesky, id: main}, {network: facebook, id: main}]\n"
    path.write_text(
        f'{HEAD}{channels}alerts: {{dormant_after: {{"{place}": 1h}}}}\n', encoding="utf-8"
    )
    assert place in load_brand(path).brand.alerts.dormant_after


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_there_is_told_with_its_cure(tmp_path: Path, name: str) -> None:
    part, sentence = WRONG[name]
    told = problems(tmp_path, HEAD + part)
    assert any(line.startswith(sentence) for line in told), told


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("{id: b, kind: slack}", "targets.1.url_setting: missing"),
        ("{id: b, kind: email}", "targets.1.to: an email target needs somebody"),
        ("{id: b, kind: webhook, url_setting: x}", "targets.1.secret_setting: a webhook is signed"),
        (
            "{id: b, kind: slack, url_setting: x, quiet: offce}",
            "targets.1.quiet: there is no calendar 'offce'; did you mean 'office'?",
        ),
    ],
)
def test_a_target_says_how_it_is_reached(tmp_path: Path, target: str, sentence: str) -> None:
    content = HEAD.replace(
        "  - {id: chat, kind: slack, url_setting: chat}\n",
        f"  - {{id: chat, kind: slack, url_setting: chat}}\n  - {target}\n",
    )
    told = problems(tmp_path, content)
    assert any(line.startswith(sentence) for line in told), told
