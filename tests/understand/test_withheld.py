"""A post that X withholds later: its words end with nobody, in whatever order it is told."""

import json
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klingel.contracts.topics import Topic
from klingel.domain.dedupe import WORDS, merge_drafts
from klingel.domain.draft import SocialDraft
from klingel.domain.identity import content_hash
from klingel.model.social_event import Author, Media

from .test_lone_ids import Counter

FIRST, SECOND = "1900000000000000001", "1900000000900000001"
SHOWN: dict[str, Any] = {
    "id": FIRST,
    "text": "@nordlicht geheim #netz https://t.co/a",
    "author_id": "7",
    "lang": "de",
    "attachments": {"media_keys": ["3_1"]},
    "entities": {
        "mentions": [{"start": 0, "end": 10, "username": "n", "id": "99"}],
        "hashtags": [{"start": 18, "end": 23, "tag": "netz"}],
        "urls": [{"url": "https://t.co/a", "expanded_url": "https://geheim.example/"}],
    },
}
HIDDEN = SHOWN | {"withheld": {"copyright": False, "country_codes": ["DE"]}}
OF_A_USER = SHOWN | {"withheld": {"scope": "user", "country_codes": ["FR", "DE"]}}
CLAIMED = SHOWN | {"withheld": {"copyright": True}}
COUNTED = SHOWN | {"public_metrics": {"like_count": 9}}
NOTICE = {
    "withheld": {
        "tweet": {"id": FIRST, "author_id": "7"},
        "withheld_in_countries": ["DE"],
        "event_at": "2025-12-23T12:34:56.789Z",
    }
}


def heard(*objects: dict[str, Any]) -> Counter:
    """Return a desk that heard these objects one after another."""
    counter = Counter()
    for each in objects:
        counter.rings("x", json.dumps({"data": each}).encode())
    return counter


def words(event: Any) -> list[Any]:
    """Return what an event says in words, files and marks."""
    return [event.text, event.text_public, event.lang] + [
        getattr(event, name) for name in WORDS if name not in {"text", "langs"}
    ]


@pytest.mark.parametrize("hidden", [HIDDEN, OF_A_USER, CLAIMED])
def test_the_same_version_withheld_later_says_nothing_any_more(hidden: dict[str, Any]) -> None:
    """Text, media, links, hashtags and mentions: all is gone, its author and its place stay."""
    counter = heard(SHOWN, hidden)
    first, last = counter.social()
    assert first.text == SHOWN["text"]
    assert first.event_id == last.event_id
    assert not any(words(last))
    assert (last.author.id, last.conversation_id) == ("7", first.conversation_id)
    assert first.content_hash != last.content_hash, "the index writes it again"


@pytest.mark.parametrize("order", list(permutations([SHOWN, HIDDEN, COUNTED])))
def test_no_order_and_no_replay_brings_the_words_back(order: tuple[dict[str, Any], ...]) -> None:
    """Also a lookup that still shows it, read after it was withheld, and everything read again."""
    # The brand knows it before: an empty post alone would be heard by nobody.
    counter = heard(SHOWN, *order)
    assert not any(words(counter.social()[-1]))
    for _ in range(2):
        counter.stage.replay(0)
        counter.stage.drain()
        assert not any(words(next(reversed(counter.newest().values()))))


def test_what_withholds_needs_no_word_of_before() -> None:
    """Raw events go after a week: what was said before cannot be read, and goes all the same."""
    counter = heard(SHOWN)
    counter.broker._logs[Topic.RAW_EVENTS, 0][0] = None
    counter.rings("x", json.dumps({"data": HIDDEN}).encode())
    first, last = counter.social()
    assert not any(words(last))
    assert last.event_id == first.event_id
    counter.rings("x", json.dumps({"data": SHOWN}).encode())
    assert len(counter.social()) == 2, "a lookup that still shows it is too late"


def test_an_edit_that_is_withheld_says_nothing_and_so_does_its_news() -> None:
    """The news of an edit has no words either; it does not pass for what withholds them."""
    edit = SHOWN | {"id": SECOND, "edit_history_tweet_ids": [FIRST, SECOND]}
    news = {
        "tweet_edit": {
            "tweet": {"id": SECOND},
            "initial_tweet_id": FIRST,
            "edit_tweet_ids": [FIRST, SECOND],
            "event_at": "2025-12-23T12:34:56.789Z",
        }
    }
    hidden = edit | {"withheld": {"country_codes": ["XX"]}}
    counter = heard(SHOWN, news, edit, hidden)
    assert [event.text for event in counter.social()][1:3] == [None, SHOWN["text"]]
    last = counter.social()[-1]
    assert not any(words(last))
    assert last.revision > 0


def test_the_notice_of_a_post_that_is_withheld_here_empties_it() -> None:
    """`Compliance Data Objects`, withheld: as a deletion, above every edit."""
    last = heard(SHOWN, NOTICE).social()[-1]
    assert last.change == "deleted"
    assert not any(words(last))


def test_a_post_withheld_elsewhere_keeps_its_words() -> None:
    counter = heard(SHOWN, SHOWN | {"withheld": {"country_codes": ["TR", "fr"]}})
    assert counter.social()[-1].text == SHOWN["text"]


DRAFTS = st.builds(
    SocialDraft,
    mapping=st.just("x/1"),
    kind=st.just("post"),
    change=st.sampled_from(["created", "updated", "deleted"]),
    text=st.sampled_from([None, "a", "b"]),
    author=st.sampled_from([None, Author(id="7"), Author(id="7", handle="a")]),
    hashtags=st.sampled_from([(), ("netz",)]),
    mentions=st.sampled_from([(), ("99",)]),
    links=st.sampled_from([(), ("https://a.example",)]),
    media=st.sampled_from([(), (Media(kind="image", id="m", status="remote"),)]),
    metrics=st.sampled_from([None, {"likes": 1}]),
)
WITHHELD = SocialDraft(mapping="x/1", kind="post", change="created", withheld=True)


@settings(max_examples=200, deadline=None)
@given(st.lists(DRAFTS, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_one_withheld_contribution_hides_the_words_of_all(
    drafts: list[SocialDraft], chance
) -> None:
    """In any order; what is deleted stays deleted, and what else is known stays known."""
    together = [*drafts, WITHHELD]
    merged = merge_drafts(together)
    chance.shuffle(together)
    assert merge_drafts(together) == merged
    assert not any(getattr(merged, name) for name in WORDS if merged.withheld)
    gone = any(draft.change == "deleted" for draft in drafts)
    assert merged.withheld != gone
    if not gone:
        assert merged.author == merge_drafts(drafts).author
        assert content_hash(merged) == content_hash(WITHHELD)
        assert merge_drafts([merged, *drafts]) == merged


@given(DRAFTS)
def test_nothing_is_withheld_of_itself(draft: SocialDraft) -> None:
    assert merge_drafts([draft]) == draft
    assert merge_drafts([draft, draft]) == draft
