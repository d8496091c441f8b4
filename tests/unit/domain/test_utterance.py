"""Several posts of one person as one utterance: cases, laws, recorded conversations."""

import gzip
import itertools
import json
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.domain.utterance import (
    MOST_POSTS,
    PATIENT,
    QUICK,
    Numbering,
    Post,
    join_utterances,
    numbering,
)

START = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)


def said(*turns: tuple[str, float, str]) -> list[Post]:
    """Posts of (author, minutes, text), numbered."""
    return [
        Post(str(number), author, START + timedelta(minutes=minutes), text)
        for number, (author, minutes, text) in enumerate(turns)
    ]


def ids(posts: list[Post], **options) -> list[str]:
    """The utterances as the ids of their posts."""
    return ["".join(post.id for post in joined) for joined in join_utterances(posts, **options)]


@pytest.mark.parametrize(
    ("turns", "joined"),
    [
        ([], []),
        ([("a", 0, "x"), ("a", 10, "y"), ("a", 20, "z")], ["012"]),
        ([("a", 0, "x"), ("a", 10.1, "y")], ["0", "1"]),
        ([("a", 0, "x"), ("b", 1, "y"), ("a", 2, "z")], ["0", "1", "2"]),
        ([("a", 0, "und dann..."), ("a", 60, "y")], ["01"]),
        ([("a", 0, "und dann\u2026 https://t.co/x"), ("a", 60, "y")], ["01"]),
        ([("a", 0, "und dann..."), ("a", 60.1, "y")], ["0", "1"]),
        ([("a", 0, "x"), ("a", 60, "@b \u2026und dann")], ["01"]),
        ([("a", 0, "x 1/2"), ("a", 60, "y 2/2")], ["01"]),
        ([("a", 0, "x 1/2"), ("a", 61, "y 2/2")], ["0", "1"]),
        ([("a", 0, "x 2/2"), ("a", 1, "y 1/2")], ["10"]),
        ([("a", 0, "x 1/3"), ("a", 1, "y 3/3"), ("a", 2, "z 2/3")], ["021"]),
        ([("a", 0, "x 1/2"), ("a", 1, "y 2/2"), ("a", 2, "z 1/2")], ["01", "2"]),
        ([("a", 0, "x 1/2"), ("a", 1, "y 2/3")], ["0", "1"]),
        ([("a", 0, "x 1/n"), ("a", 30, "y 2/n"), ("a", 31, "Danke")], ["012"]),
        ([("a", 0, "x 1/2"), ("a", 30, "y")], ["0", "1"]),
    ],
)
def test_which_posts_belong_together(turns, joined) -> None:
    """Pauses, ellipses and numbers, in a conversation between two."""
    assert ids(said(*turns)) == joined


def test_others_speak_between_below_a_public_post() -> None:
    """Only those who answer part what somebody says."""
    turns = said(("a", 0, "x"), ("b", 1, "y"), ("a", 2, "z"), ("brand", 3, "w"), ("a", 4, "v"))
    assert ids(turns, direct=False) == ["024", "1", "3"]
    assert ids(turns, direct=False, answering=["brand"]) == ["02", "1", "3", "4"]
    assert ids(turns, direct=True) == ["0", "1", "2", "3", "4"]


def test_of_two_versions_of_a_post_the_later_counts() -> None:
    """A post is said once."""
    first = Post("1", "a", START, "x")
    edited = first._replace(at=START + timedelta(minutes=1), text="y")
    assert join_utterances([edited, first, first]) == [(edited,)]


def test_an_utterance_is_bounded() -> None:
    """Who never pauses says several."""
    posts = said(*(("a", number, "x") for number in range(MOST_POSTS + 1)))
    assert [len(joined) for joined in join_utterances(posts)] == [MOST_POSTS, 1]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Mein Netz 1/3", Numbering(1, 3)),
        ("(2/2) ist weg", Numbering(2, 2)),
        ("@nordlicht @otto 2/2... ist weg", Numbering(2, 2)),
        ("ist weg. [2/3]", Numbering(2, 3)),
        ("ist weg (1 von 2)", Numbering(1, 2)),
        ("Teil 1 of 2: weg", Numbering(1, 2)),
        ("ist weg 3/n", Numbering(3, None)),
        ("2/ ist weg", Numbering(2, None)),
        ("\U0001f9f5 1/ ist weg", Numbering(1, None)),
        ("We are sorry 2/2 ^JP", Numbering(2, 2)),
        ("We are sorry 2/2. ^Oliver", Numbering(2, 2)),
        ("look here 1/2 https://t.co/x", Numbering(1, 2)),
        ("open 24/7", None),
        ("until 3/24/2018", None),
        ("on 11/3 you failed", None),
        ("0/3", None),
        ("1/1", None),
        ("2/99", None),
        ("route a/1/2", None),
        ("", None),
    ],
)
def test_numbers_of_posts(text: str, found: Numbering | None) -> None:
    """At the beginning or at the end; times, dates and fractions are none, or harmless."""
    assert numbering(text) == found


POSTS = st.lists(
    st.builds(
        Post,
        id=st.integers(0, 30).map(str),
        author=st.sampled_from("abc"),
        at=st.integers(0, 90).map(lambda minutes: START + timedelta(minutes=minutes)),
        text=st.sampled_from(["x", "x...", "\u2026x", "x 1/2", "x 2/2", "2/3 x", "x 3/n", ""]),
    ),
    max_size=30,
)


@given(POSTS, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_says_nothing(posts: list[Post], direct: bool, random: Random) -> None:
    """The same set gives the same utterances."""
    shuffled = [*posts, *random.sample(posts, len(posts) // 2)]
    random.shuffle(shuffled)
    options = {"direct": direct, "answering": {"c"}}
    assert join_utterances(shuffled, **options) == join_utterances(posts, **options)


@given(POSTS, st.booleans())
def test_every_post_is_in_one_utterance_of_its_author(posts: list[Post], direct: bool) -> None:
    """And no pause in it is longer than PATIENT, and joining again changes nothing."""
    utterances = join_utterances(posts, direct=direct)
    flat = [post for joined in utterances for post in joined]
    assert sorted(post.id for post in flat) == sorted({post.id for post in posts})
    for joined in utterances:
        assert len({post.author for post in joined}) == 1
        times = sorted(post.at for post in joined)
        pauses = [later - at for at, later in itertools.pairwise(times)]
        assert all(pause <= PATIENT for pause in pauses)
    assert join_utterances(flat, direct=direct) == utterances


@given(POSTS)
def test_between_two_nobody_speaks_within_an_utterance(posts: list[Post]) -> None:
    """Whoever spoke between has parted it."""
    utterances = join_utterances(posts)
    for joined in utterances:
        first, last = (
            f(joined, key=lambda post: (post.at, len(post.id), post.id)) for f in (min, max)
        )
        for other in (post for others in utterances for post in others if others is not joined):
            key = (other.at, len(other.id), other.id)
            inside = (first.at, len(first.id), first.id) < key < (last.at, len(last.id), last.id)
            assert not inside or other.author == joined[0].author


def test_customers_split_what_they_say(shared_data, record_property) -> None:
    """Recorded conversations: 5 % of customers' utterances, in 9 % of conversations, and all rows."""
    with gzip.open(shared_data / "nc/text/twcs_threads.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = {row["id"]: row for row in map(json.loads, file)}
    conversations: dict[str, list[Post]] = {}
    for row in rows.values():
        root = row
        while root["meta"]["in_reply_to"] in rows:
            root = rows[root["meta"]["in_reply_to"]]
        at = datetime.strptime(row["meta"]["created_at"], "%a %b %d %H:%M:%S %z %Y")
        post = Post(row["id"], row["meta"]["author"], at, row["text"])
        conversations.setdefault(root["id"], []).append(post)
    brands = {row["meta"]["author"] for row in rows.values() if not row["meta"]["inbound"]}
    several = utterances = numbered = 0
    for posts in conversations.values():
        joined = join_utterances(posts, direct=True, answering=brands)
        customers = [utterance for utterance in joined if utterance[0].author not in brands]
        utterances += len(customers)
        several += sum(len(utterance) > 1 for utterance in customers)
        numbered += assert_rows_are_whole(joined)
    record_property("customers_utterances_of_several_posts", round(several / utterances, 4))
    assert len(conversations) == 656
    assert 0.04 <= several / utterances <= 0.07
    assert numbered >= 20


def assert_rows_are_whole(joined: list[tuple[Post, ...]]) -> int:
    """Parts k and k + 1 of one row, said within PATIENT, are in one utterance; count them."""
    found = 0
    for place, utterance in enumerate(joined):
        for post in utterance:
            number = numbering(post.text)
            if number is None or number.parts is None:
                continue
            for other_place, other in enumerate(joined):
                for next_post in other:
                    if (
                        next_post.author == post.author
                        and numbering(next_post.text) == (number.part + 1, number.parts)
                        and abs(next_post.at - post.at) <= QUICK
                    ):
                        found += 1
                        assert place == other_place
    return found
