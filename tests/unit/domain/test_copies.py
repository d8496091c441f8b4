"""Copies: what is compared, what is linked, what is remembered, and what real posts say of it."""

import gzip
import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.domain.copies import (
    COMPARED,
    CONTAINED,
    CopyWindow,
    Entry,
    Limits,
    Link,
    comparable,
    compare,
    shingles,
)

LONG = "Mein Router blinkt seit gestern Abend rot und die Hotline legt nach zwanzig Minuten auf"


@pytest.mark.parametrize(
    ("text", "words", "cut"),
    [
        ("", "", False),
        ("Hallo,   WELT!\n", "hallo welt", False),
        ("RT @a_b: Hallo Welt", "hallo welt", False),
        ("RT @a: RT @b: Hallo Welt", "hallo welt", False),
        ("@brand @b.c Hallo https://t.co/x?y=1 Welt www.x.de", "hallo welt", False),
        ("Bahn &amp; Bus", "bahn bus", False),
        ("Hallo We\u2026", "hallo we", True),
        ("Hallo Welt htt\u2026", "hallo welt", True),
        ("Hallo Welt https://t.co/a\u2026", "hallo welt", True),
        ("Hallo We\u2026 https://t.co/a", "hallo we", True),
        ("Na toll...", "na toll", False),
        ("Genau so ist es! RT @x: was der sagt", "genau so ist es", False),
        ("\U0001f525\U0001f525 heiß", "\U0001f525 \U0001f525 heiß", False),
        ("START der Saison", "start der saison", False),
    ],
)
def test_what_is_compared(text, words, cut):
    seen = comparable(text)
    assert (seen.text, seen.cut) == (words, cut)


def test_a_fingerprint_is_of_the_words_and_sixteen_digits():
    assert comparable("Hallo, Welt").fingerprint == comparable("RT @x: hallo WELT!").fingerprint
    assert comparable("ab c").fingerprint != comparable("a bc").fingerprint
    assert len(comparable("").fingerprint) == 16


def test_containment_of_known_texts():
    whole = comparable(LONG).text
    assert compare(whole, whole) == 1.0
    assert compare(whole, whole[:40], other_cut=True) == 1.0
    assert compare(whole, whole[:40]) == 0.0, "not marked as cut, and short"
    assert compare(whole, whole[30:70]) == 0.0, "not the beginning"
    assert compare(whole, whole[12:]) == 1.0, "nearly all"
    assert compare(whole, "danke") == 0.0
    assert compare("danke", "danke schön") == 0.0
    assert compare("", "") == 0.0


def add(window, id_, text, at=0.0, **said):
    return window.add(Entry(id_, text, at, **said))


def test_the_three_kinds_of_link():
    window = CopyWindow()
    assert add(window, "1", LONG, author="a", network="x") is None
    assert add(window, "2", "beliebig", author="b", network="x", reposts="1") == Link(
        "repost", "1", 1.0, same_author=False, same_network=True, own=None
    )
    assert add(window, "3", LONG.upper() + "!!", author="b", network="bluesky") == Link(
        "fingerprint", "1", 1.0, same_author=False, same_network=False, own="2"
    )
    cut = add(window, "4", f"RT @a: {LONG[:60]}\u2026", author="c", network="x")
    assert cut == Link("containment", "1", 1.0, same_author=False, same_network=True, own=None)
    again = add(window, "5", LONG, author="a", network="x")
    assert again == Link("fingerprint", "1", 1.0, same_author=True, same_network=True, own="1")
    assert add(window, "6", "Etwas ganz anderes, das noch niemand gesagt hat, heute früh") is None


def test_a_reply_or_a_quote_is_no_copy_of_what_it_answers():
    for said in ({"in_reply_to": "1"}, {"quotes": "1"}):
        for text in (LONG + "!", LONG + " ja", f"RT @a: {LONG[:60]}\u2026"):
            window = CopyWindow()
            add(window, "1", LONG, author="a")
            assert add(window, "2", text, author="b", **said) is None
            assert add(window, "3", text, author="c") is not None
    other = CopyWindow()
    add(other, "2", LONG + "!", in_reply_to="1")
    assert add(other, "1", LONG) is None, "the parent may come later"


def test_a_text_that_quotes_another_one_and_says_more_is_none():
    window = CopyWindow()
    add(window, "1", LONG)
    comment = "Das ist genau das, was ich seit Wochen sage, und niemand hört zu, weil alle schlafen"
    assert add(window, "2", f"{comment}: {LONG}") is None
    assert add(window, "3", f"{comment} RT @a: {LONG}") is None


@pytest.mark.parametrize(
    "text", ["danke", "Thank you!", "\U0001f525", "\U0001f44d" * 60, "ok ok ok"]
)
def test_what_tells_nothing_is_a_copy_of_the_same_authors_only(text):
    window = CopyWindow()
    assert add(window, "1", text, author="a") is None
    assert add(window, "2", text, author="b") is None
    assert add(window, "3", text) is None
    assert add(window, "4", text) is None, "who is not known is nobody's same"
    link = add(window, "5", text, author="a")
    assert link is not None
    assert (link.kind, link.of, link.own) == ("fingerprint", "1", "1")


@pytest.mark.parametrize("text", ["", "   ", "https://t.co/x", "@brand", "\u200b", "!?"])
def test_a_text_without_words_is_no_copy(text):
    window = CopyWindow()
    assert add(window, "1", text, author="a") is None
    assert add(window, "2", text, author="a") is None


def test_an_original_after_its_repost_is_the_original():
    window = CopyWindow()
    link = add(window, "2", f"RT @a: {LONG[:60]}\u2026", author="b", reposts="1")
    assert link is not None
    assert link.of == "1"
    assert add(window, "1", LONG, author="a") is None
    late = add(window, "3", LONG, author="c")
    assert late is not None
    assert late.of == "1"


def test_a_repeated_id_gets_the_same_answer_and_an_edit_is_looked_at_again():
    window = CopyWindow()
    add(window, "1", LONG, author="a")
    first = add(window, "2", LONG, author="b")
    assert add(window, "2", LONG, author="b") == first
    assert len(window) == 2
    assert add(window, "1", LONG, author="a") is None
    assert add(window, "1", LONG + " wirklich", author="a") is None, "never a copy of itself"
    assert (
        add(window, "2", "Ganz neuer Satz über die Rechnung vom letzten Monat", author="b") is None
    )


def test_time_passes():
    window = CopyWindow(Limits(seconds=100))
    add(window, "1", LONG, 0)
    assert add(window, "2", LONG, 100) is not None
    assert add(window, "3", LONG, 190) is not None, "repeated 90 s ago"
    assert add(window, "4", LONG, 500) is None
    assert len(window) == 1
    late = add(window, "5", LONG, 350)
    assert late is None, "further than the window from what is remembered"


@given(st.lists(st.tuples(st.text(max_size=80), st.floats(0, 1000)), max_size=60))
def test_memory_is_bounded(said):
    window = CopyWindow(Limits(seconds=500, entries=7, megabytes=0.004))
    for at, (text, when) in enumerate(said):
        add(window, str(at), text, when, author="a")
        assert len(window) <= 7
        assert window._bytes <= 4_000 + 1_000, "one entry more than the bound"
        assert len(window._fingerprints) <= 14
        assert len(window._authors) <= 7
        assert len(window._numbers) <= 7
        assert len(window._order) <= 3 * 7


def test_what_is_repeated_is_remembered_longest():
    """The one that nobody has said again for the longest time goes first."""
    window = CopyWindow(Limits(entries=5))
    texts = [f"{word * 3} {LONG[at:]}" for at, word in enumerate(("eins", "zwei", "drei"))]
    for at, text in enumerate(texts):
        add(window, str(at), text, float(at), author=f"a{at}")
    add(window, "again", texts[0], 3.0, author="a0")
    for at in range(2):
        add(window, f"other {at}", f"{at} ganz anderes Wort {at}", 4.0 + at)
    assert ["0" in window, "1" in window, "2" in window] == [True, False, True]
    link = add(window, "own", texts[0], 6.0, author="a0")
    assert link is not None
    assert (link.of, link.own) == ("0", "again")


def test_an_authors_own_word_is_the_first_ones_too():
    window = CopyWindow()
    add(window, "1", LONG, 0, author="a")
    add(window, "2", LONG, 1, author="b")
    link = add(window, "3", LONG, 2, author="a")
    assert link is not None
    assert (link.of, link.own, link.same_author) == ("1", "1", True)


WORDS = ["router", "rot", "blinkt", "rechnung", "falsch", "seit", "gestern", "karte", "nicht"]
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)
POSTS = st.lists(
    st.tuples(
        st.integers(0, 12), SENTENCES, st.integers(0, 3), st.sampled_from(["", "…"]), st.booleans()
    ),
    max_size=40,
)


def entries(posts):
    return [
        Entry(
            str(id_),
            text[:40] + end if end else text,
            float(at),
            author=f"a{author}",
            reposts=str((id_ + 1) % 13) if repost and not author else None,
        )
        for at, (id_, text, author, end, repost) in enumerate(posts)
    ]


@given(POSTS, st.integers(0, 40))
def test_a_restored_export_goes_on_the_same(posts, cut):
    stream = entries(posts)
    limits = Limits(seconds=20, entries=9)
    window, whole = CopyWindow(limits), CopyWindow(limits)
    for entry in stream[:cut]:
        assert window.add(entry) == whole.add(entry)
    window = CopyWindow.restore(window.export())
    assert window.memory == whole.memory
    for entry in stream[cut:]:
        assert window.add(entry) == whole.add(entry)
    assert window.export() == whole.export()


@pytest.mark.parametrize(
    "data", [b"", b"x", CopyWindow().export()[:-3], CopyWindow().export()[:20]]
)
def test_a_torn_export_is_refused(data):
    with pytest.raises(ValueError, match="export"):
        CopyWindow.restore(data)


@given(SENTENCES, SENTENCES, st.booleans(), st.booleans())
def test_the_comparison_knows_no_order(one, other, one_cut, other_cut):
    forth = compare(one, other, one_cut=one_cut, other_cut=other_cut)
    back = compare(other, one, one_cut=other_cut, other_cut=one_cut)
    assert forth == back
    assert forth == 0.0 or CONTAINED <= forth <= 1.0


@given(SENTENCES, SENTENCES, st.sampled_from(["", "\u2026"]))
def test_of_two_texts_alone_either_order_links(one, other, end):
    """With more texts, which one stands for a group, and so who is compared, depends on the order."""
    linked = []
    for first, second in ((one + end, other), (other, one + end)):
        window = CopyWindow()
        add(window, "1", first, author="a")
        linked.append(add(window, "2", second, author="b") is not None)
    assert linked[0] == linked[1]


@given(st.text())
def test_every_text_has_a_result(text):
    window = CopyWindow()
    add(window, "1", text, author="a")
    link = add(window, "2", text, author="a")
    assert (link is not None) == bool(comparable(text).words)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 30_000,
        "RT @a " * 5_000,
        "RT @a" + " " * 30_000,
        " RT" * 10_000,
        "http:a " * 4_300 + "\u2026",
        "http:a " * 4_300,
        "@" * 30_000,
        "@a." * 10_000,
        "\u2026" * 30_000,
        "wwww" * 7_500 + "\u2026",
        "\u202e\u0645\u0631\u062d\u0628\u0627 " * 4_000,
        "Z\u0351\u036b\u0343a\u0334l\u0315g\u0321o\u0322 " * 2_000,
        "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 6_000,
        "\x00\uffff\ud800" * 10_000,
    ],
)
def test_hostile_texts_take_bounded_time(text):
    window = CopyWindow()
    began = time.process_time()
    add(window, "1", text, author="a")
    add(window, "2", text + " x", author="b")
    assert time.process_time() - began < 0.5, "milliseconds, on a busy machine too"


def test_shingles_look_at_the_beginning_only():
    assert len(shingles("".join(map(chr, range(0x4E00, 0x4E00 + 9_000))))) == COMPARED - 3


def load(folder, name):
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def group_of(groups, id_):
    """What a network calls a repost may be one of a copy."""
    while groups.get(id_, id_) != id_:
        id_ = groups[id_]
    return id_


@pytest.mark.parametrize("reference", [True, False])
@pytest.mark.parametrize("original_first", [True, False])
def test_reposts_are_linked_and_replies_and_quotes_are_not(shared_data, reference, original_first):
    pairs = load(shared_data, "permissive/text/x_repost_quote_reply_pairs")
    fields = {"retweeted": "reposts", "quoted": "quotes", "replied_to": "in_reply_to"}
    window = CopyWindow()
    groups = {}

    def hear(entry):
        link = window.add(entry)
        groups.setdefault(entry.id, link.of if link else entry.id)

    for half in (original_first, not original_first):
        for pair in pairs:
            original = pair["meta"]["ref"]
            if half:
                hear(Entry(original, pair["text2"], 0.0, f"a{original}"))
            else:
                field = fields[pair["labels"]["relation"]]
                said = {field: original} if reference else {}
                hear(Entry(pair["id"], pair["text"], 0.0, f"b{pair['id']}", **said))
    reposts, rest = [], []
    for pair in pairs:
        one, other = pair["id"], pair["meta"]["ref"]
        together = group_of(groups, one) == group_of(groups, other)
        (reposts if pair["labels"]["relation"] == "retweeted" else rest).append(together)
    assert len(reposts) > 300
    assert len(rest) > 100
    assert sum(reposts) / len(reposts) >= 0.99
    assert sum(rest) / len(rest) <= 0.01


def test_posts_of_strangers_are_seldom_linked_by_containment(shared_data):
    posts = load(shared_data, "nc/text/airline_us_sentiment")[:3_000]
    window = CopyWindow()
    links = [
        window.add(Entry(post["id"], post["text"], 0.0, post["meta"]["author"])) for post in posts
    ]
    strangers = [link for link in links if link and not link.same_author]
    assert sum(link.kind == "containment" for link in strangers) <= 0.005 * len(posts)


def test_planted_copies_of_real_posts_are_found(shared_data):
    chance = random.Random(11)
    posts = load(shared_data, "permissive/text/clinc150_train_val")[:4_000]
    posts += load(shared_data, "permissive/text/banking77_train")[:2_000]
    chance.shuffle(posts)
    window = CopyWindow()
    for post in posts:
        window.add(Entry(post["id"], post["text"], 0.0, post["id"]))
    found = []
    for post in [post for post in posts if post["id"].startswith("banking")][:800]:
        text = post["text"]
        forms = [f"RT @x: {text}", f"@y {text.title()} https://t.co/z", text.upper() + " !!"]
        if len(text) >= 60:
            forms.append(f"RT @x: {text[: len(text) * 3 // 4]}\u2026")
        link = window.add(Entry(f"c {post['id']}", chance.choice(forms), 1.0, f"c {post['id']}"))
        found.append(link is not None)
    assert sum(found) / len(found) >= 0.99
