"""Threads in which customers rouse each other."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.domain import pile_on
from klingel.domain.pile_on import PileOnRules, PileOns, Told, Voice, hear, pass_time

NOON = 1_700_000_000.0
RULES = PileOnRules(5)
BRAND = "nordlicht"


def voice(
    at: float,
    author: int | None,
    *,
    thread: str = "t",
    negative: bool = True,
    reach: float = 1.0,
    name: str | None = None,
) -> Voice:
    event_id = f"{thread}.{at}.{author}" if name is None else name
    return Voice(thread, event_id, NOON + at, author, "x", reach, negative)


def heard(
    voices: Sequence[Voice], rules: PileOnRules = RULES, state: PileOns | None = None
) -> list[Told]:
    state = PileOns() if state is None else state
    told = [hear(state, rules, BRAND, each, each.at) for each in voices]
    return [each for each in told if each is not None]


def test_enough_customers_within_an_hour_are_one_alarm() -> None:
    told = heard([voice(600 * n, n, reach=float(n)) for n in range(5)])
    assert len(told) == 1
    alarm = told[0]
    assert (alarm.state, alarm.conversation, alarm.authors) == ("open", "t", 5)
    assert (alarm.revision, alarm.severity) == (1, pile_on.BEGIN_SEVERITY)
    assert alarm.since == NOON
    assert alarm.examples[0] == "t.2400.4"
    assert alarm.negative_share == 1.0


@pytest.mark.parametrize(
    "voices",
    [
        pytest.param([voice(60 * n, 7) for n in range(50)], id="one angry customer"),
        pytest.param([voice(60 * n, n, thread=str(n)) for n in range(50)], id="many threads"),
        pytest.param([voice(1_000 * n, n) for n in range(50)], id="too slowly"),
        pytest.param([voice(60 * n, n, negative=False) for n in range(50)], id="not negative"),
    ],
)
def test_what_is_no_pile_on(voices: list[Voice]) -> None:
    assert heard(voices) == []


def test_a_thread_that_does_not_grow_is_none() -> None:
    """Ten an hour were there before ten an hour; but twenty are more."""
    usual = [voice(360 * n, n) for n in range(8)]
    state = PileOns()
    assert heard(usual, PileOnRules(9), state) == []
    same = [voice(3_600 + 360 * n, 100 + n) for n in range(9)]
    assert heard(same, PileOnRules(9), state) == []
    more = [voice(3_600 + 3_300 + n, 200 + n) for n in range(9)]
    assert len(heard(more, PileOnRules(9), state)) == 1


def test_it_is_told_again_when_it_has_doubled_and_ends_an_hour_after_its_last_word() -> None:
    state = PileOns()
    told = heard([voice(60 * n, n) for n in range(20)], state=state)
    assert [(each.authors, each.revision, each.severity) for each in told] == [
        (5, 1, 4),
        (10, 2, 5),
        (20, 3, 6),
    ]
    assert len({each.alert_id for each in told}) == 1
    last = NOON + 60 * 19
    assert pass_time(state, last + 3_599) == []
    assert pass_time(state, last + 3_599 + pile_on.SWEEP_SECONDS - 1) == []
    ended = pass_time(state, last + 3_600 + pile_on.SWEEP_SECONDS)
    assert [(each.state, each.revision) for each in ended] == [("ended", 4)]
    assert ended[0].ended_at == last + 3_600
    assert pass_time(state, last + 7_200 + pile_on.SWEEP_SECONDS) == []
    assert not state.threads


def test_words_that_are_long_over_ring_for_nobody() -> None:
    state = PileOns()
    for n in range(9):
        said = voice(60 * n, n)
        assert hear(state, RULES, BRAND, said, said.at + pile_on.STALE_SECONDS + 1) is None


def test_nobody_known_is_a_voice_of_its_own() -> None:
    assert len(heard([voice(60 * n, None) for n in range(5)])) == 1


def test_without_a_bound_nothing_is_looked_for() -> None:
    state = PileOns()
    assert heard([voice(n, n) for n in range(99)], PileOnRules(), state) == []
    assert not state.threads


def test_what_is_remembered_is_bounded_and_an_open_alarm_is_never_forgotten() -> None:
    state = PileOns()
    heard([voice(n, n) for n in range(5)], state=state)
    for n in range(3 * pile_on.MOST_THREADS):
        said = voice(10 + n / 100, n, thread=f"other {n}")
        hear(state, RULES, BRAND, said, said.at)
        assert len(state.threads) <= pile_on.MOST_THREADS
    assert state.threads["t"].alarm is not None
    heard([voice(100 + n, n) for n in range(2 * pile_on.MOST_WORDS)], state=state)
    assert len(state.threads["t"].words) == pile_on.MOST_WORDS


WORDS = st.lists(
    st.tuples(
        st.integers(0, 4 * 3_600),
        st.one_of(st.none(), st.integers(0, 12)),
        st.booleans(),
        st.sampled_from("ab"),
    ),
    max_size=60,
    unique_by=lambda each: each[0],
)


def drawn(words: Sequence[tuple[int, int | None, bool, str]]) -> list[Voice]:
    return [voice(at, author, thread=thread, negative=bad) for at, author, bad, thread in words]


@given(WORDS)
def test_it_opens_when_a_plain_count_says_so(
    words: list[tuple[int, int | None, bool, str]],
) -> None:
    """Against counting anew at every word, for words in the order of their times."""
    voices = sorted(drawn(words), key=lambda each: each.at)
    opened = {}
    for at, each in enumerate(voices):
        if not each.is_negative or each.conversation in opened:
            continue
        said = [
            one
            for one in voices[: at + 1]
            if one.conversation == each.conversation and one.is_negative
        ]
        names = [
            {
                one.event_id if one.author is None else one.author
                for one in said
                if least <= each.at - one.at < least + 3_600
            }
            for least in (0, 3_600)
        ]
        if len(names[0]) >= max(5, 2 * len(names[1])):
            opened[each.conversation] = each.at
    first: dict[str, float] = {}
    state = PileOns()
    for each in voices:
        told = hear(state, RULES, BRAND, each, each.at)
        if told is not None:
            assert told.state == "open"
            first.setdefault(told.conversation, each.at)
    assert first == opened


@given(WORDS, st.integers(0, 60))
def test_a_restart_changes_nothing(
    words: list[tuple[int, int | None, bool, str]], cut: int
) -> None:
    """Whatever the order in which the words arrive."""
    voices = drawn(words)
    whole, before = PileOns(), PileOns()
    told = heard(voices, state=whole)
    parts = heard(voices[:cut], state=before)
    after = msgspec.msgpack.decode(msgspec.msgpack.encode(before), type=PileOns)
    parts += heard(voices[cut:], state=after)
    assert parts == told
    assert after == whole
    assert pass_time(after, NOON + 9 * 3_600) == pass_time(whole, NOON + 9 * 3_600)
    assert not whole.threads


@given(WORDS)
def test_the_evidence_is_of_the_words_that_were_said(
    words: list[tuple[int, int | None, bool, str]],
) -> None:
    voices = drawn(words)
    said = {each.event_id: each for each in voices}
    for told in heard(voices):
        assert told.authors >= 5
        assert 0 < told.negative_share <= 1
        assert told.words >= told.authors
        assert all(said[each].is_negative for each in told.examples)
        assert all(said[each].conversation == told.conversation for each in told.examples)
