"""Dictionaries: which forms an entry has, and what a rule that refers to one comes to."""

import pytest

from klingel.config.brand import Brand
from klingel.config.compiled import CompiledBrand, dictionaries_of, listening_rules, routing_rules
from klingel.config.loader import BrandFileError, load_brand
from klingel.domain.dictionary import expand_entries
from klingel.domain.matching import (
    RuleDocument,
    RuleSyntaxError,
    expand_rule,
    parse_rule,
    to_query_string,
)
from klingel.domain.rule_syntax import CLAUSE_LIMIT, Or, Phrase, Wildcard, Word, read_entry

BRAND = """\
brand: nordlicht
name: Nordlicht
queues:
  - id: all
dictionaries:
  - id: products
    words: [Nordbox, "Nordbox Pro", glasfaser*]
    misspellings: [nordbocks]
  - id: outages
    words: [Störung]
    umlauts: false
listening:
  - id: trouble
    query: dictionary:products AND dictionary:outages
routing:
  - id: fibre
    when: NOT dictionary:outages AND dictionary:products
    queue: all
"""


def forms(*words: str, misspellings=(), **options) -> list[str]:
    """Give the forms of entries as a rule has them."""
    entries = expand_entries(map(read_entry, words), map(read_entry, misspellings), **options)
    return [expand_rule(parse_rule("dictionary:x", {"x": (entry,)})) for entry in entries]


@pytest.mark.parametrize(
    ("words", "entry"),
    [
        ("Nordbox", Word("nordbox")),
        (" #Nordbox! ", Word("nordbox")),
        ("Nord-Box", Phrase(("nord", "box"))),
        ("Nordbox  Pro", Phrase(("nordbox", "pro"))),
        ("and", Word("and")),
        ("C&A", Phrase(("c", "a"))),
        ("was ist los?", Phrase(("was", "ist", "los"))),
        ("glas*", Wildcard("glas*")),
        ("Me?er", Wildcard("me?er")),
        ("🔥", Word("🔥")),
        ("手机", Phrase(("手", "机"))),
    ],
)
def test_an_entry_is_a_word_a_beginning_or_words_in_a_row(words, entry):
    assert read_entry(words) == entry


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("...", "no letter"),
        ("  ", "no letter"),
        ("*box", "cannot come first"),
        ("nord* box", "within a single word"),
        ("#box*", "within one word"),
        ("a*b*c*d*e*f*g*h*i*", "at most 8 wildcards"),
    ],
)
def test_what_can_never_be_found_is_refused(words, sentence):
    with pytest.raises(RuleSyntaxError) as caught:
        read_entry(words)
    assert sentence in caught.value.message


def test_umlauts_are_found_transcribed_and_decomposed():
    assert forms("Störung") == ["störung", "stoerung", "sto\u0308rung"]
    assert forms("Sto\u0308rung") == ["sto\u0308rung", "störung", "stoerung"]
    assert forms("Störung", umlauts=False) == ["störung"]


def test_umlauts_change_together_and_sharp_s_on_its_own():
    assert forms("Straßenüberführung") == [
        "straßenüberführung",
        "straßenueberfuehrung",
        "straßenu\u0308berfu\u0308hrung",
        "strassenüberführung",
        "strassenueberfuehrung",
        "strassenu\u0308berfu\u0308hrung",
    ]


def test_nothing_is_guessed_backwards():
    """The bare letter and the transcription may be other words: schon, neue, Masse."""
    assert forms("schon", "neue", "Masse") == ["schon", "neue", "masse"]


def test_phrases_and_beginnings_have_their_spellings_too():
    assert forms("zu groß") == ['"zu groß"', '"zu gross"']
    assert forms("größ*")[:2] == ["größ*", "groeß*"]


def test_typing_errors_are_left_out_doubled_or_swapped_letters():
    found = forms("nordbox", typos=True)
    assert found[0] == "nordbox"
    assert {"nrdbox", "nordbx", "nordbo", "noordbox", "nordboxx", "nrodbox", "nordbxo"} <= set(
        found
    )
    assert all(form[0] == "n" for form in found)
    assert len(found) == len(set(found))


def test_short_words_phrases_and_known_misspellings_have_no_typing_errors():
    assert forms("strom", "zu hohe Rechnung", typos=True) == ["strom", '"zu hohe rechnung"']
    assert forms("strom", misspellings=["schtromm"], typos=True) == ["strom", "schtromm"]


def test_each_form_stands_once_in_a_stable_order():
    assert forms("Größe", "größe", "GROESSE", misspellings=["groesse"]) == [
        "größe",
        "groesse",
        "groeße",
        "gro\u0308ße",
        "grösse",
        "gro\u0308sse",
    ]


def test_more_forms_than_a_rule_holds_are_refused():
    words = [read_entry(f"abcdefgh{'abcdefghijklmnopqrst'[number]}xyz") for number in range(20)]
    with pytest.raises(RuleSyntaxError, match="leave out typos"):
        expand_entries([*words, *(Word(f"w{at}") for at in range(CLAUSE_LIMIT))], typos=True)


DICTIONARIES = {
    "products": (Word("nordbox"), Phrase(("nord", "box"))),
    "one": (Word("strom"),),
    "empty": (),
}


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        ("dictionary:products", 'nordbox OR "nord box"'),
        ("dictionary:one", "strom"),
        ('dictionary:"one" x', "strom AND x"),
        ("dictionary:products -dictionary:one", '(nordbox OR "nord box") AND (NOT strom)'),
        ("gas OR dictionary:products", 'gas OR nordbox OR "nord box"'),
        ("dictionary:(products OR one)", 'nordbox OR "nord box" OR strom'),
        ("dictionary:one^2", "strom"),
        ('dictionary:one "a b"~3 c* +d', 'strom AND "a b"~3 AND c* AND d'),
        (
            'dictionary:one hashtag:"##x" author:@a followers:<0 has:link',
            'strom AND hashtag:"##x" AND author:"a" AND followers:[* TO 0} AND has:link',
        ),
        ("dictionary:one lang:(de OR en)", 'strom AND (lang:"de" OR lang:"en")'),
        (
            r"dictionary:one followers:>1000000000000000 mention:a\:b*",
            r"strom AND followers:{1000000000000000 TO *] AND mention:a\:b*",
        ),
    ],
)
def test_a_rule_is_plain_lucene_once_it_is_expanded(query, plain):
    parsed = parse_rule(query, DICTIONARIES)
    assert expand_rule(parsed) == plain
    assert parse_rule(plain).root == parsed.root


def test_a_rule_without_dictionaries_stays_as_it_was_written():
    assert expand_rule(parse_rule("Gas  (strom^2)", DICTIONARIES)) == "Gas  (strom^2)"


def test_kibana_needs_to_know_nothing_of_dictionaries():
    parsed = parse_rule("dictionary:products lang:de", DICTIONARIES)
    assert to_query_string(parsed) == 'text.rules:(nordbox OR "nord box") AND lang.code:"de"'
    assert parsed.dictionaries == ("products",)
    assert isinstance(parsed.root.parts[0], Or)


@pytest.mark.parametrize(
    ("query", "position", "sentence"),
    [
        (
            "dictionary:tariffs",
            11,
            "There is no dictionary 'tariffs': there are empty, one, products",
        ),
        ("gas dictionary:empty", 15, "is empty"),
        ("dictionary:(lang:de)", 12, "within the field dictionary"),
        ("dictionary:-one", 0, "write NOT dictionary:"),
    ],
)
def test_a_wrong_reference_is_told_with_its_place(query, position, sentence):
    with pytest.raises(RuleSyntaxError) as caught:
        parse_rule(query, DICTIONARIES)
    assert sentence in caught.value.message
    assert caught.value.position == position


def test_the_forms_of_a_dictionary_count_as_conditions():
    many = {"many": tuple(Word(f"w{at}") for at in range(CLAUSE_LIMIT))}
    parse_rule("dictionary:many", many)
    with pytest.raises(RuleSyntaxError, match="conditions"):
        parse_rule("dictionary:many x", many)


def test_a_brand_hears_by_its_dictionaries(tmp_path):
    path = tmp_path / "brand.yaml"
    path.write_text(BRAND, encoding="utf-8")
    loaded = load_brand(path)
    compiled = CompiledBrand.compile(loaded.brand, loaded.version)
    hits = compiled.listening.match(RuleDocument(text="STÖRUNG bei der Nordbocks"))
    assert [(hit.rule_id, hit.spans) for hit in hits] == [("trouble", ((0, 7), (16, 25)))]
    assert not compiled.listening.match(RuleDocument(text="Stoerung bei der Nordbox"))
    assert compiled.routing_set.match(RuleDocument(text="Glasfaserausbau"))


def test_a_rule_has_another_version_when_its_dictionary_changes():
    def versions(brand: Brand) -> list[str]:
        return [rule.version for rule in (*listening_rules(brand), *routing_rules(brand))]

    brand = Brand.model_validate(
        {
            "brand": "b",
            "name": "B",
            "queues": [{"id": "all"}],
            "dictionaries": [{"id": "d", "words": ["nordbox"]}],
            "listening": [{"id": "with", "query": "dictionary:d"}, {"id": "without", "query": "x"}],
            "routing": [{"id": "r", "when": "nordbox", "queue": "all"}],
        }
    )
    changed = brand.model_copy(
        update={
            "dictionaries": (
                brand.dictionaries[0].model_copy(update={"misspellings": ("nordbocks",)}),
            )
        }
    )
    before, after = versions(brand), versions(changed)
    assert all(len(version) == 8 for version in before)
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True, True]
    assert [expand_rule(parse_rule("dictionary:d", dictionaries_of(changed)))] == [
        "nordbox OR nordbocks"
    ]


@pytest.mark.parametrize(
    ("wrong", "right", "problem"),
    [
        ("[Störung]", "[Störung, '...']", "10: dictionaries.1.words.1: '...': the entry holds no"),
        ("[nordbocks]", "['*bocks']", "8: dictionaries.0.misspellings.0: '*bocks': a wildcard"),
        ("id: outages", "id: products", "9: dictionaries.1.id: 'products' stands twice"),
        (
            "query: dictionary:products AND",
            "query: dictionary:product AND",
            "14: listening.0.query: at character 12 of the query: There is no dictionary 'product'",
        ),
        ("words: [Störung]", "words: []", "10: dictionaries.1.words: it is empty"),
    ],
)
def test_a_wrong_dictionary_is_told_by_line(tmp_path, wrong, right, problem):
    assert wrong in BRAND
    path = tmp_path / "brand.yaml"
    path.write_text(BRAND.replace(wrong, right), encoding="utf-8")
    with pytest.raises(BrandFileError) as caught:
        load_brand(path)
    told = [line.removeprefix(f"{path}:") for line in caught.value.problems]
    assert any(line.startswith(problem) for line in told), told


def test_a_rule_that_grows_too_long_by_its_dictionary_is_told(tmp_path):
    words = ", ".join(f'"{"w" * 80}{number}"' for number in range(300))
    path = tmp_path / "brand.yaml"
    path.write_text(BRAND.replace("[Störung]", f"[{words}]"), encoding="utf-8")
    with pytest.raises(
        BrandFileError, match="with its dictionaries written out: the rule is longer"
    ):
        load_brand(path)
