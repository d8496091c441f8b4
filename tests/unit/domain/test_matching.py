"""Listening rules: what hits, where, and which rules are looked at."""

from random import Random

import pytest

from klingel.domain.matching import (
    SPAN_LIMIT,
    Finding,
    Rule,
    RuleDocument,
    RuleHit,
    RuleSet,
    RuleSyntaxError,
    explain_rule,
    parse_rule,
    required_terms,
)


def hears(query: str, text: str = "", **fields) -> bool:
    rules = RuleSet.compile([Rule("r", query)])
    return bool(rules.match(RuleDocument(text=text, **fields)))


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("nordlicht", "Ach, NORDLICHT!", True),
        ("nordlicht", "danke #Nordlicht", True),
        ("nordlicht", "@nordlicht hilf", True),
        ("nordlicht", "nordlichter", False),
        ("Verspätung", "VERSPÄTUNG", True),
        ("🔥", "nice🔥🔥", True),
        ("👍", "👍🏽", True),
        ("strom rechnung", "Rechnung für Strom", True),
        ("strom rechnung", "Rechnung", False),
        ("strom OR gas", "Gas ist weg", True),
        ("strom AND NOT gas", "Strom und Gas", False),
        ("strom -gas", "Strom", True),
        ("NOT strom", "", True),
        ("strom AND (gas OR wasser)", "Strom und Wasser", True),
        ("strom OR (NOT gas)", "gas", False),
        ('"rechnung zu hoch"', "Rechnung, zu hoch!", True),
        ('"rechnung zu hoch"', "Rechnung viel zu hoch", False),
        ('"手机"', "我的手机坏了", True),
        ('"can\'t"', "I can\u2019t", True),
        ("verspät*", "verspätet", True),
        ("verspät*", "verspät", True),
        ("me?er", "Meier", True),
        ("me?er", "Meyyer", False),
        ("me?er", "Meer", False),
        ("m**r", "mr", True),
        ("a*bc*bcd", "abcbcd", True),
        ("a*bcd*d", "abcd", False),
        ("a*b?d", "abbdbxd", True),
        ("st*m*g", "Strommangellage-Strommg", True),
        ('"*"~3 OR x', "x", None),
    ],
)
def test_text_conditions(query, text, expected):
    if expected is None:
        with pytest.raises(RuleSyntaxError):
            hears(query, text)
    else:
        assert hears(query, text) is expected


@pytest.mark.parametrize(
    ("slop", "text", "expected"),
    [
        (0, "internet weg", True),
        (0, "weg internet", False),
        (1, "internet ist weg", True),
        (1, "weg internet", False),
        (2, "weg internet", True),
        (2, "weg ist internet", False),
        (3, "weg ist internet", True),
        (1, "internet a b weg internet c weg", True),
    ],
)
def test_proximity_counts_moves_as_lucene_does(slop, text, expected):
    assert hears(f'"internet weg"~{slop}', text) is expected


@pytest.mark.parametrize(
    ("query", "fields", "expected"),
    [
        ("lang:de", {"lang": "de"}, True),
        ("lang:de", {}, False),
        ("lang:(de OR en)", {"lang": "en"}, True),
        ("network:mastodon", {"network": "mastodon"}, True),
        ("kind:REPLY", {"kind": "reply"}, True),
        ("visibility:public", {"visibility": "private"}, False),
        ("author:@Nordlicht", {"author_handle": "nordLICHT"}, True),
        ("author:@nord*", {"author_handle": "nordlicht"}, True),
        ('author:"did:plc:Abc"', {"author_id": "did:plc:Abc"}, True),
        ('author:"did:plc:abc"', {"author_id": "did:plc:Abc"}, False),
        ("author:x*", {}, False),
        ("hashtag:#Strom", {"hashtags": ("STROM",)}, True),
        ("hashtag:str?m", {"hashtags": ("gas", "strom")}, True),
        ("hashtag:strom", {"text": "#strom"}, False),
        ("hashtag:ÜBER", {"hashtags": ("über",)}, True),
        ("hashtag:\ua7cb", {"hashtags": ("\ua7cb",)}, True),
        ("hashtag:\ua7cb", {"hashtags": ("\ua7dc",)}, False),
        ("hashtag:\ua7cb", {"hashtags": ("\u0264",)}, True),
        ("mention:\U00010d70*", {"mentions": ("\U00010d50x",)}, True),
        ("mention:@nordlicht", {"mentions": ("NordLicht",)}, True),
        ("mention:nord*", {"mentions": ("südlicht",)}, False),
        ("has:link", {"has_link": True}, True),
        ("has:link", {}, False),
        ("has:media", {"media": ("sticker",)}, True),
        ("has:media", {}, False),
        ("has:image", {"media": ("video", "image")}, True),
        ("has:image", {"media": ("video",)}, False),
        ("has:(video OR audio)", {"media": ("audio",)}, True),
        ("has:hashtag", {"hashtags": ("x",)}, True),
        ("has:hashtag", {"text": "#x"}, False),
        ("has:mention", {"mentions": ("x",)}, True),
        # What the index keeps and does not find (more than 1,024 UTF-16 units, a handle 256):
        ("hashtag:x*", {"hashtags": ("x" * 1024,)}, True),
        ("hashtag:x*", {"hashtags": ("x" * 1025,)}, False),
        ("hashtag:🔥*", {"hashtags": ("🔥" * 512,)}, True),
        ("hashtag:🔥*", {"hashtags": ("🔥" * 513,)}, False),
        ("has:hashtag", {"hashtags": ("x" * 1025,)}, True),
        ("mention:x*", {"mentions": ("x" * 1025,)}, False),
        ("author:x*", {"author_handle": "x" * 256}, True),
        ("author:x*", {"author_handle": "x" * 257}, False),
        ("author:x*", {"author_id": "x" * 1025}, False),
        ("followers:[1000 TO *]", {"followers": 1000}, True),
        ("followers:{1000 TO *]", {"followers": 1000}, False),
        ("followers:[* TO 10}", {"followers": 9}, True),
        ("followers:[* TO *]", {}, False),
        ("followers:>=5", {"followers": 5}, True),
        ("followers:>5", {"followers": 5}, False),
        ("followers:<=5", {"followers": 5}, True),
        ("followers:<5", {"followers": 5}, False),
        ("followers:0", {"followers": 0}, True),
        ("NOT followers:>5", {}, True),
    ],
)
def test_field_conditions(query, fields, expected):
    assert hears(query, **{"text": "", **fields}) is expected


def test_spans_are_places_in_the_original_text():
    text = "🔥 İNTERNET wieder WEG, Internet da"
    rules = RuleSet.compile([Rule("outage", '"internet weg"~1 AND 🔥 AND wie* AND NOT strom', "7")])
    [hit] = rules.match(RuleDocument(text=text))
    assert hit.rule_id == "outage"
    assert hit.version == "7"
    assert [text[start:end] for start, end in hit.spans] == ["🔥", "İNTERNET wieder WEG", "wieder"]


def test_spans_name_only_the_branches_that_hold():
    rules = RuleSet.compile([Rule("r", "(strom AND gas) OR (strom AND wasser) OR lang:de")])
    [hit] = rules.match(RuleDocument(text="Strom Gas", lang="de"))
    assert hit.spans == ((0, 5), (6, 9))
    [hit] = rules.match(RuleDocument(text="Gas", lang="de"))
    assert hit == RuleHit("r", ())


def test_hits_come_in_the_order_of_the_rules():
    rules = RuleSet.compile([Rule("b", "x"), Rule("field", "lang:de"), Rule("a", "y x")])
    document = RuleDocument(text="x y", lang="de")
    assert [hit.rule_id for hit in rules.match(document)] == ["b", "field", "a"]


def test_a_wildcard_takes_bounded_time_on_any_text():
    """With an expression that goes back, seven stars would try 255^7 ways."""
    assert not hears("a*" * 7 + "?b", "a" * 255)
    assert hears("a*" * 7 + "?b", "a" * 100 + "cb")


def test_a_hit_reports_the_first_places_only():
    [hit] = RuleSet.compile([Rule("r", "a")]).match(RuleDocument(text="a " * 20_000))
    assert hit.spans == tuple((2 * at, 2 * at + 1) for at in range(SPAN_LIMIT))


def test_long_texts_are_matched_as_short_ones():
    rules = RuleSet.compile([Rule("r", '"strom weg"~2 AND "gas da" AND NOT wasser')])
    text = "rest " * 200 + "weg strom und gas da"
    [hit] = rules.match(RuleDocument(text=text))
    assert [text[start:end] for start, end in hit.spans] == ["weg strom", "gas da"]
    assert not rules.match(RuleDocument(text=text + " wasser"))


def test_required_words_within_one_another_are_all_found():
    rules = RuleSet.compile([Rule("a", "hof*"), Rule("b", "bahn*"), Rule("c", "bahnhof")])
    hits = rules.match(RuleDocument(text="Bahnhof"))
    assert [hit.rule_id for hit in hits] == ["b", "c"]


def test_no_rules_hear_nothing():
    rules = RuleSet.compile([])
    assert rules.match(RuleDocument(text="x")) == []
    assert not rules.may_match("x")


def test_a_wrong_rule_is_named_with_its_place():
    with pytest.raises(
        RuleSyntaxError, match=r"Listening rule 'outage': .* \(at character 3\)"
    ) as e:
        RuleSet.compile([Rule("fine", "x"), Rule("outage", "a b OR c")])
    assert e.value.position == 2


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(ValueError, match="Two listening rules are called 'r'"):
        RuleSet.compile([Rule("r", "x"), Rule("r", "y")])


def test_warnings_carry_the_rule():
    rules = RuleSet.compile([Rule("r", "#strom^3")])
    assert [rule for rule, _ in rules.warnings] == ["r", "r"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("strom", {"strom"}),
        ("gas AND netzentgelt", {"netzentgelt"}),
        ("netzentgelt AND gas", {"netzentgelt"}),
        ("gas OR strom", {"gas", "strom"}),
        ("(gas OR strom) AND NOT wasser", {"gas", "strom"}),
        ("st*zahlung*", {"zahlung"}),
        ('"zu hohe rechnung"~4', {"rechnung"}),
        ("strom OR lang:de", None),
        ("NOT strom", None),
        ("has:link", None),
    ],
)
def test_required_terms(query, expected):
    found = required_terms(parse_rule(query))
    assert found == (None if expected is None else frozenset(expected))


def test_may_match_is_false_only_without_any_required_word():
    rules = RuleSet.compile([Rule("r", "strom AND lang:de")])
    assert rules.may_match("Der STROM ist weg")
    assert not rules.may_match("Das Gas ist weg")
    with_field_rule = RuleSet.compile([Rule("r", "strom"), Rule("f", "lang:de")])
    assert with_field_rule.may_match("Das Gas ist weg")


def test_each_part_of_a_rule_says_whether_it_holds_and_where():
    query = parse_rule('(strom OR gas*) AND NOT "zu hoch"~2 lang:de')
    document = RuleDocument(text="Gastarif: hoch, zu Strom!", lang="de")
    assert explain_rule(query, document) == (
        Finding(0, "AND", holds=False),
        Finding(1, "OR", holds=True),
        Finding(2, "strom", holds=True, spans=((19, 24),)),
        Finding(2, "gas*", holds=True, spans=((0, 8),)),
        Finding(1, "NOT", holds=False),
        Finding(2, '"zu hoch"~2', holds=True, spans=((10, 18),)),
        Finding(1, 'lang:"de"', holds=True),
    )


def test_the_first_finding_is_the_whole_rule():
    for text, expected in (("Strom", True), ("Gas", False)):
        assert explain_rule(parse_rule("strom"), RuleDocument(text=text))[0].holds is expected
    assert explain_rule(parse_rule("NOT strom"), RuleDocument(text=""))[0] == Finding(
        0, "NOT", holds=True
    )


def test_words_that_are_all_needed_are_seen_before_a_rule_is_asked():
    """The required word alone is no hit; nor is it lost within an alternative or a NOT."""
    rules = RuleSet.compile(
        [
            Rule("both", "netzentgelt strom"),
            Rule("either", "(netzentgelt strom) OR gas"),
            Rule("without", "netzentgelt -strom"),
        ]
    )
    heard = {
        text: [hit.rule_id for hit in rules.match(RuleDocument(text=text))]
        for text in ("Netzentgelt", "Netzentgelt Strom", "Gas")
    }
    assert heard == {
        "Netzentgelt": ["without"],
        "Netzentgelt Strom": ["both", "either"],
        "Gas": ["either"],
    }


LONG_RULES = (
    "a",
    "x OR bahn OR d",
    "a* AND NOT ab*",
    "a*b*c*d",
    "z*g OR b?hn",
    '"a b a"',
    '"b a"~50',
    '"a c"~1000 AND bahn*',
    '"🔥 x"~5',
    'd AND NOT "zzg zzg"',
    "f AND 🔥",
)
LONG_WORDS = (
    "a",
    "b",
    "c",
    "d",
    "x",
    "ab",
    "aba",
    "abcxd",
    "bahn",
    "zzg",
    "e.f",
    "x-y",
    "🔥",
    "\n",
    "ä",
)


def test_a_long_text_is_heard_as_a_short_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeated words are looked at once and far ones are leapt to: the hits are the same."""
    rules = RuleSet.compile(Rule(query, query) for query in LONG_RULES)
    random = Random(4)
    texts = [
        " ".join(
            random.choices(LONG_WORDS, [random.random() ** 4 + 1e-3 for _ in LONG_WORDS], k=size)
        )
        for size in (90, 101, 150, 400, 1_500) * 20
    ]
    found = [rules.match(RuleDocument(text=text)) for text in texts]
    monkeypatch.setattr("klingel.domain.matching._LONG", 10**9)
    monkeypatch.setattr("klingel.domain.matching._LONG_TEXT", 10**9)
    monkeypatch.setattr("klingel.domain.matching._SCANS", 0)
    assert found == [rules.match(RuleDocument(text=text)) for text in texts]
    assert {hit.rule_id for hits in found for hit in hits} == set(LONG_RULES)


LATIN_RULES = (
    "bahn",
    "x OR bahn OR d",
    "a* AND NOT ab*",
    "b?hn*",
    '"bahn weg"',
    '"weg bahn"~3 AND NOT gleis',
    "bahn*ei?",
    " OR ".join(f"wort{number}" for number in range(40)),
    " AND ".join(["bahn", *(f"NOT fehlt{number}" for number in range(40))]),
    "verspätung AND größe",
    "NOT bahn",
    "l" * 254,
)


def long_latin_texts(random: Random) -> list[str]:
    """Different words, the same ones in masses, words cut by their length, rare and at the ends."""
    letters = "abcdefghijklmnopqrstuvwxyzäöüß_0"
    different = ["".join(random.choices(letters, k=random.randint(3, 8))) for _ in range(3_000)]
    some = ["Bahn", "weg", "d", "x", "Bahnsteig", "wort7", "Größe", "VERSPÄTUNG", "gleis", "fehlt3"]
    texts = [" ".join(different)]
    for count in (1, 3, 12):
        words = [*different, *random.choices(some, k=count)]
        random.shuffle(words)
        texts.append(random.choice(("\n", ", ", " - ")).join(words))
    texts += [
        "x " * 600 + "VERSPÄTUNG, Größe: Bahn",
        "bahn " * 9_000 + "weg",
        "Bahn weg, " * 300 + "gleis Bahnsteig",
        "bahn" + "-" * 20_000 + "weg",
        "a" * 16_383 + " bahn weg",
        "y" * 1_200 + " bahn " + "l" * 254,
        "k" * 255 + "bahn " + "wort3 " * 300,
        " ".join(different[:200]) + " " + "l" * 254,
    ]
    return texts


def test_a_long_text_is_heard_before_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words that are searched for in the text as it stands are those that it is cut into."""
    rules = RuleSet.compile(Rule(query, query) for query in LATIN_RULES)
    texts = long_latin_texts(Random(11))
    alone = [RuleSet.compile([Rule(query, query)]) for query in LATIN_RULES]
    found = [rules.match(RuleDocument(text=text)) for text in texts]
    found_alone = [
        [hit for each in alone for hit in each.match(RuleDocument(text=text))] for text in texts
    ]
    monkeypatch.setattr("klingel.domain.matching._LONG_TEXT", 10**9)
    expected = [rules.match(RuleDocument(text=text)) for text in texts]
    assert found == expected
    assert found_alone == expected
    assert {hit.rule_id for hits in expected for hit in hits} == set(LATIN_RULES)


@pytest.mark.parametrize("letters", ["abcdefghijklmnop", "aäoöuüsß", "абвгдежзиклмн"])
def test_a_long_text_of_other_words_is_not_cut_into_them(letters: str) -> None:
    """What costs most of such a text is spared: to cut it, and to keep its different words."""
    random = Random(5)
    rules = RuleSet.compile(
        Rule(str(number), query)
        for number, query in enumerate(("nordlicht", '"nord licht"', "nordl*", "zug OR gleis"))
    )
    words = ("".join(random.choices(letters, k=6)) for _ in range(5_000))
    document = RuleDocument(text=" ".join(words))
    assert rules.match(document) == []
    assert not {"terms", "words"} & document.__dict__.keys()
