"""Feeds: what feedparser's own 1,045 files state of themselves, held against our events.

Each statement is parsed (`feed_expectations`) and is about something that an event carries, or is
counted under the name of its field. A deviation stands in DEVIATIONS under its reason; the test fails
as well when one of them begins to hold.
"""

import re
from collections import Counter
from typing import Any, Final

import pytest

from klingel_networks.feed import NETWORK
from klingel_networks.mapped import map_delivery

from .feed_expectations import (
    Claim,
    Stated,
    aspect_of,
    blanks,
    field_of,
    holds,
    stated,
    words_of,
)

PLAIN: Final = frozenset(
    (
        "wellformed/atom/entry_summary_base64.xml",
        "wellformed/atom/entry_summary_base64_2.xml",
        "wellformed/atom/entry_title_text_plain_brackets.xml",
        "wellformed/atom10/entry_content_text_plain_brackets.xml",
        "wellformed/atom10/entry_title_text_plain_brackets.xml",
    )
)
"""Files whose entry says that its characters are no HTML, by its type or by Atom 0.3's own rule:
what looks like a tag there is kept."""
NAMELESS: Final = "nothing names the entry (no id, no link, no words): it is refused"
DEVIATIONS: Final = {
    NAMELESS: frozenset(
        (
            "wellformed/atom/entry_author_map_author.xml 0.author",
            "wellformed/atom/entry_author_map_author_2.xml 0.author",
            "wellformed/atom/entry_author_name.xml 0.author_detail.name",
            "wellformed/atom/entry_issued.xml 0.published",
            "wellformed/atom/entry_issued_parsed.xml 0.published_parsed",
            "wellformed/atom/entry_modified.xml 0.updated",
            "wellformed/atom/entry_published_parsed_date_overwriting.xml 0.published_parsed",
            "wellformed/atom/entry_updated_parsed.xml 0.updated_parsed",
            "wellformed/atom10/entry_author_name.xml 0.author_detail.name",
            "wellformed/atom10/entry_authors_name.xml 0.authors.0.name",
            "wellformed/atom10/entry_authors_name.xml 0.authors.1.name",
            "wellformed/atom10/entry_category_term.xml 0.tags.0.term",
            "wellformed/atom10/entry_link_rel_enclosure_map_enclosure_url.xml 0.enclosures.0.href",
            "wellformed/atom10/entry_link_rel_license.xml 0.links.0.href",
            "wellformed/cdf/item_lastmod_parsed.xml 0.updated_parsed",
            "wellformed/itunes/itunes_item_author_map_author.xml 0.author",
            "wellformed/itunes/itunes_item_category_nested.xml 0.tags.1.term",
            "wellformed/media-rss/item_media_category_term.xml 0.tags.0.term",
            "wellformed/rss/item_author.xml 0.author",
            "wellformed/rss/item_author_map_author_detail_name.xml 0.author_detail.name",
            "wellformed/rss/item_author_map_author_detail_name2.xml 0.author_detail.name",
            "wellformed/rss/item_author_map_author_detail_name3.xml 0.author_detail.name",
            "wellformed/rss/item_category.xml 0.category",
            "wellformed/rss/item_dc_author.xml 0.author",
            "wellformed/rss/item_dc_author_map_author_detail_name.xml 0.author_detail.name",
            "wellformed/rss/item_dc_creator_map_author_detail_name.xml 0.author_detail.name",
            "wellformed/rss/item_dc_date_parsed.xml 0.updated_parsed",
            "wellformed/rss/item_dc_subject_multiple.xml 0.tags.1.term",
            "wellformed/rss/item_dcterms_issued_parsed.xml 0.published_parsed",
            "wellformed/rss/item_dcterms_modified.xml 0.updated",
            "wellformed/rss/item_madeup_tags_element.xml 0.tags.0.term",
            "wellformed/rss/item_madeup_tags_element.xml 0.tags.1.term",
            "wellformed/rss/item_madeup_tags_element.xml 0.tags.2.term",
        )
    ),
    "what stands within a frame is kept by feedparser's sanitizing; a browser does not show it": frozenset(
        (
            "wellformed/sanitize/entry_content_iframe.xml 0.content.0.value",
            "wellformed/sanitize/entry_summary_iframe.xml 0.summary",
            "wellformed/sanitize/item_content_encoded_iframe.xml 0.description",
        )
    ),
    "the header Content-Language is not kept with a delivery": frozenset(
        (
            "wellformed/lang/http_content_language_entry_title_inherit.xml 0.title_detail.language",
            "wellformed/lang/http_content_language_entry_title_inherit_2.xml 0.title_detail.language",
        )
    ),
    "an event has one address: the entry's own, none of those it relates to": frozenset(
        ("wellformed/psc/atomsimplechapterexternal.xml 0.links.2.href",)
    ),
}
CARRIED: Final = {
    "author": (0, 14),
    "category": (1, 8),
    "enclosure": (1, 1),
    "id": (9, 0),
    "language": (13, 2),
    "link": (16, 2),
    "number": (1, 0),
    "published": (0, 4),
    "title": (76, 0),
    "updated": (0, 5),
    "words": (318, 3),
}
"""Of each thing that an event carries: how many statements hold, how many deviate."""
NOT_CARRIED: Final = {
    "bozo": 896,
    "bozo_exception": 1,
    "encoding": 31,
    "entry.abcdefg": 2,
    "entry.author_detail": 9,
    "entry.authors": 6,
    "entry.content": 4,
    "entry.contributors": 9,
    "entry.created": 2,
    "entry.created_parsed": 1,
    "entry.enclosures": 2,
    "entry.expired": 1,
    "entry.expired_parsed": 2,
    "entry.guidislink": 4,
    "entry.image": 2,
    "entry.itunes_block": 2,
    "entry.itunes_duration": 1,
    "entry.itunes_explicit": 3,
    "entry.license": 2,
    "entry.links": 13,
    "entry.madeup_element": 1,
    "entry.media_credit": 4,
    "entry.media_license": 3,
    "entry.media_player": 1,
    "entry.media_rating": 1,
    "entry.media_restriction": 2,
    "entry.psc_chapters": 4,
    "entry.publisher": 1,
    "entry.publisher_detail": 1,
    "entry.rights": 4,
    "entry.rights_detail": 2,
    "entry.source": 34,
    "entry.summary_detail": 6,
    "entry.tags": 3,
    "entry.title_detail": 9,
    "entry.wfw_comment": 1,
    "entry.wfw_commentrss": 1,
    "entry.where": 13,
    "etag": 1,
    "feed.author": 4,
    "feed.author_detail": 10,
    "feed.authors": 4,
    "feed.category": 1,
    "feed.contributors": 9,
    "feed.copyright": 25,
    "feed.copyright_detail": 10,
    "feed.created": 1,
    "feed.created_parsed": 1,
    "feed.description": 7,
    "feed.docs": 1,
    "feed.generator": 2,
    "feed.generator_detail": 5,
    "feed.id": 2,
    "feed.image": 4,
    "feed.info": 23,
    "feed.info_detail": 8,
    "feed.itunes_block": 3,
    "feed.itunes_explicit": 4,
    "feed.language": 2,
    "feed.link": 8,
    "feed.links": 10,
    "feed.logo": 1,
    "feed.published": 1,
    "feed.published_parsed": 1,
    "feed.publisher_detail": 1,
    "feed.rights_detail": 3,
    "feed.subtitle": 7,
    "feed.tagline": 40,
    "feed.tagline_detail": 10,
    "feed.tags": 5,
    "feed.textinput": 2,
    "feed.thr_in-reply-to": 4,
    "feed.title": 157,
    "feed.title_detail": 11,
    "feed.ttl": 1,
    "feed.updated": 5,
    "feed.updated_parsed": 3,
    "feed.validity_end_parsed": 1,
    "feed.validity_start": 1,
    "feed.validity_start_parsed": 1,
    "modified": 3,
    "version": 7,
}
"""Statements about what no event carries, by field: of the feed, the reader, or the entry."""
NAMED_DEVIATIONS: Final = frozenset(
    (
        # An event tells an author's name; the address stays in the raw event.
        "wellformed/atom/entry_author_map_author.xml 0.author",
        # An event has one author; feedparser names the last one as the entry's.
        "wellformed/atom10/entry_authors_name.xml 0.authors.0.name",
        # An event has the address of the entry, none of its licence.
        "wellformed/atom10/entry_link_rel_license.xml 0.links.0.href",
    )
)
"""What deviates still once the refused entries have an id."""
NAMED: Final = {
    "author": 14,
    "category": 8,
    "updated": 5,
    "published": 4,
    "enclosure": 1,
    "link": 1,
}
"""Statements about the refused entries."""
ITEM_END: Final = re.compile(rb"</item>", re.IGNORECASE)


@pytest.fixture(scope="module")
def recorded(payloads) -> dict[str, tuple[bytes, Stated]]:
    """Each file and what it states, by its name."""
    return {
        name.removeprefix("feeds_feedparser/"): (body, stated(body))
        for name, body in payloads("feeds_feedparser").items()
    }


def told_of(body: bytes, headers: dict[str, str]) -> list[dict[str, Any]]:
    """Map a file as if it had come with the headers that it states."""
    context = {"source": "feed"}
    for key, header in (("url", "content-location"), ("content_type", "content-type")):
        if header in headers:
            context[key] = headers[header]
    return map_delivery(NETWORK, body, context)


def judged(name: str, claim: Claim, aspect: str, told: list[dict[str, Any]]) -> bool:
    """Tell whether a file's claim holds."""
    return holds(claim, aspect, told, blanks if name in PLAIN else words_of)


@pytest.mark.exhaustive
def test_what_the_recorded_feeds_state_holds(recorded):
    """1,045 documents and 1,968 statements: no crash, and no deviation that is not listed."""
    fates: Counter[str] = Counter()
    held: Counter[str] = Counter()
    deviating: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    deviations = set()
    for name, (body, said) in recorded.items():
        told = told_of(body, said.headers)
        fates.update(each["fate"] for each in told)
        assert all(each.get("sentence") or each["fate"] == "delivered" for each in told), name
        for claim in said.claims:
            aspect = aspect_of(claim)
            if aspect is None:
                elsewhere[field_of(claim)] += 1
            elif judged(name, claim, aspect, told):
                held[aspect] += 1
            else:
                deviating[aspect] += 1
                deviations.add(f"{name} {'.'.join(map(str, claim.path[1:]))}")
    listed = [one for those in DEVIATIONS.values() for one in those]
    assert deviations - set(listed) == set()
    assert set(listed) - deviations == set(), "these hold now: take them off the list"
    assert {each: (held[each], deviating[each]) for each in held | deviating} == CARRIED
    assert elsewhere == NOT_CARRIED
    assert len(recorded) == 1045
    assert fates == {"delivered": 490, "dead_lettered": 130}


def test_entries_that_nothing_names_state_the_same_with_an_id(recorded):
    """Author, times and tags of the refused files hold once the entry can be told from others."""
    checked: Counter[str] = Counter()
    deviations = set()
    for name in {one.partition(" ")[0] for one in DEVIATIONS[NAMELESS]}:
        body, said = recorded[name]
        named = body.replace(b"</entry>", b"<id>urn:1</id></entry>")
        named = ITEM_END.sub(rb'<guid isPermaLink="false">urn:1</guid>\g<0>', named)
        told = told_of(named, said.headers)
        for claim in said.claims:
            aspect = aspect_of(claim)
            if aspect is not None:
                checked[aspect] += 1
                if not judged(name, claim, aspect, told):
                    deviations.add(f"{name} {'.'.join(map(str, claim.path[1:]))}")
    assert deviations == NAMED_DEVIATIONS
    assert checked == NAMED


@pytest.mark.parametrize(
    "expression",
    ["", "open('x')", "entries[0][f()] == 1", "entries[0]['a'] < 1", "not f() or True", "[1]"],
)
def test_a_statement_of_an_unknown_form_is_not_passed_over(expression: str):
    """It is an error, so that a new recording cannot go unjudged; nothing of it is run."""
    with pytest.raises((ValueError, SyntaxError)):
        stated(f"<!-- Expect: {expression} --><feed/>".encode())
