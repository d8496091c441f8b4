"""Personal data: what is found, what is not, that masking changes nothing else, bounded time."""

import gzip
import json
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from klingel.language import pii
from klingel.language.numbers import compile_number
from klingel.language.pii import Finding, find, mask

TRAPS = [
    line
    for line in (Path(__file__).parent / "pii_traps.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("# ")
]
NUMBERS = (
    compile_number("customer_number", "KD-########", "luhn"),
    compile_number("contract_number", "V#{9}", "iso7064"),
    compile_number("order_number", "@@-######"),
)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("", ""),
        ("Ruft mich an: 0171 1234567, Gruß Anna", "Ruft mich an: [phone], Gruß Anna"),
        ("Tel.: 0221/4711234", "Tel.: [phone]"),
        ("meine Nummer ist 0221 - 47 11 23 4", "meine Nummer ist [phone]"),
        ("Handy: +49 (0) 171 / 123 45 67", "Handy: [phone]"),
        ("0043 664 1234567", "[phone]"),
        ("+41 79 123 45 67 bitte", "[phone] bitte"),
        ("call me at 020 7946 0958", "call me at [phone]"),
        ("please call me 9148445695", "please call me [phone]"),
        ("My number is (415) 555-2671 thanks", "My number is [phone] thanks"),
        ("0171/1234567 oder 0172/7654321", "[phone] oder [phone]"),
        ("01711234567,01721234567", "[phone],[phone]"),
        ("0171 1234567/0172 7654321", "[phone]/[phone]"),
        ("(0171 1234567)", "([phone])"),
        ("Tel0171 1234567", "Tel[phone]"),
        ("".join(chr(ord(each) + 0xFEE0) for each in "01711234567"), "[phone]"),
        ("٠١٧١١٢٣٤٥٦٧", "[phone]"),
        ("0171\u200b1234567", "[phone]"),
        ("erreichbar unter 45 67 89", "erreichbar unter [phone]"),
        ("fax 030 1234567-89", "fax [phone]"),
        ("Fax: 345-899-3560x4587", "Fax: [phone]"),
        ("781 1704 office\nx", "[phone] office\nx"),
        ("am 12.10.2017 um 12:30 0171 1234567", "am 12.10.2017 um 12:30 [phone]"),
        ("ruft 0800 330 1000 an", "ruft [phone] an"),
        ("IBAN DE89 3704 0044 0532 0130 00 bitte", "IBAN [iban] bitte"),
        ("de89370400440532013000", "[iban]"),
        ("GB29 NWBK 6016 1331 9268 19", "[iban]"),
        ("CH93-0076-2011-6238-5295-7", "[iban]"),
        ("IBAN: DE12 3704 0044 0532 0130 00", "IBAN: [iban]"),
        ("max.mustermann@web.de.", "[email]."),
        ("anna@web.de,ben@gmx.at", "[email],[email]"),
        ("max (at) web.de oder max[at]web[dot]de", "[email] oder [email]"),
        ("max.muster at gmx punkt de", "[email]"),
        ("anna_99 at gmail dot com", "[email]"),
        ("name(at)gmx schreiben", "[email] schreiben"),
        ("schreib mir: kontakt @ firma.de", "schreib mir: [email]"),
        ("müller@österreich.at", "[email]"),
        ("www.max@web.de", "[email]"),
        ("Karte 4111 1111 1111 1111 weg", "Karte [card] weg"),
        ("Amex 3782-822463-10005", "Amex [card]"),
        ("Karte 630427373398 weg", "Karte [card] weg"),
        ("Ich wohne Musterstraße 12a, 50667 Köln", "Ich wohne [address]"),
        ("Musterstr.5", "[address]"),
        ("Berliner Allee 12", "[address]"),
        ("Am Markt 3, 24768 Rendsburg", "[address]"),
        ("wir sind in 80331 München", "wir sind in [address]"),
        ("D-10115 Berlin", "[address]"),
        ("Meine Adresse: Im Grund 4, 50859 Köln", "Meine Adresse: [address]"),
        ("Postfach 12 34 56, 50667 Köln", "[address]"),
        ("221B Baker Street, London NW1 6XE", "[address], London [address]"),
        ("742 Evergreen Terrace, Springfield, IL 62704", "[address]"),
        ("kd 1234 5674 und V123456788", "[customer_number] und [contract_number]"),
        ("AB-123456", "[order_number]"),
        ("KD-12345678", "KD-12345678"),
        ("KD-12345674 0171 1234567", "[customer_number] [phone]"),
    ],
)
def test_what_is_found(text: str, masked: str) -> None:
    """In the forms in which customers write it; kind and place stay."""
    assert mask(text, find(text, "de", NUMBERS)) == masked


SPACES = "\u00a0\u1680\u2000\u2002\u2003\u2007\u2009\u200a\u202f\u205f\u3000"


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Tel. 0171 123 45 67 bitte", "Tel. [phone] bitte"),
        ("+49 171 1234567", "[phone]"),
        ("+49 (0) 171 / 123 45 67", "[phone]"),
        ("(040) 12 34 56 78 oder 0171 1234567", "[phone] oder [phone]"),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN [iban]"),
        ("Karte 4111 1111 1111 1111", "Karte [card]"),
        ("Hauptstraße 5, 20095 Hamburg", "[address]"),
        ("12 345 678 Kunden, 1 234 567 Euro", None),
        ("seit 2012 2013 2014", None),
    ],
)
def test_a_space_of_any_width_is_a_space(text: str, masked: str | None, space: str) -> None:
    """Nothing more is found than between ordinary ones, and nothing less."""
    odd = text.replace(" ", space)
    expected = text if masked is None else masked
    assert mask(text, find(text, "de")) == expected
    assert mask(odd, find(odd, "de")) == expected.replace(" ", space)


@pytest.mark.parametrize("joiner", "\u200b\u200c\u200d\u2060\ufeff")
def test_what_has_no_width_parts_no_number(joiner: str) -> None:
    for text in (f"0171{joiner}1234567", f"+49{joiner} 171{joiner}12{joiner}34567"):
        assert mask(text, find(text, "de")) == "[phone]"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("o'neil@x.de", "[email]"),
        ("o\u2019neil@mail.example.com, danke", "[email], danke"),
        ("an 'max@x.de' schreiben", "an '[email]' schreiben"),
        ("an \u2019max@x.de\u2019", "an \u2019[email]\u2019"),
        ("d'arc.j'eanne+x@gmail.com", "[email]"),
        ("o'neil (at) web.de", "[email]"),
        ("''max@x.de", "''[email]"),
        ("that's at home.com", "that's at home.com"),
    ],
)
def test_an_apostrophe_is_part_of_a_name(text: str, masked: str) -> None:
    assert mask(text, find(text, "en")) == masked


def test_places_are_code_points() -> None:
    """Emoji and combining signs before a finding count as Python counts them."""
    text = "👩‍👩‍👧 e\u0301 a@b.de"
    assert find(text, None) == (Finding("email", 9, 15),)
    assert text[9:15] == "a@b.de"


def test_the_languages_regions_are_asked_too() -> None:
    """A French mobile number is one in French, and where France is asked for."""
    text = "06 12 34 56 78"
    assert find(text, "fr")[0].kind == "phone"
    assert find("075 12 34 56 78", "en", regions=()) == find(
        "075 12 34 56 78", "en", regions=["GB"]
    )
    assert find("0171 1234567", None, regions=["US"]) == ()


def test_brand_numbers_are_found_where_nothing_else_is() -> None:
    """The gate of the other kinds does not close on them."""
    order = compile_number("order_number", "@@-####")
    assert not pii.may_hold("AB-1234")
    assert find("AB-1234", "de", [order]) == (Finding("order_number", 0, 7),)


def test_no_trap_is_masked(record_property) -> None:
    """Prices, dates, tariffs, trains, ids: none of more than 300, in whatever language."""
    masked = [
        text
        for text in TRAPS
        if any(find(text, lang, NUMBERS[:2]) for lang in ("de", "en", "fr", None))
    ]
    record_property("traps", len(TRAPS))
    record_property("false_masks", len(masked))
    assert len(TRAPS) == len(set(TRAPS)) >= 300
    assert masked == []


def test_synthetic_personal_data_is_found(shared_data, record_property) -> None:
    """All 98 telephone numbers, IBANs and e-mail addresses, from end to end."""
    kinds = {"PHONE_NUMBER": "phone", "IBAN_CODE": "iban", "EMAIL_ADDRESS": "email"}
    there, whole = Counter(), Counter()
    path = shared_data / "permissive" / "text" / "presidio_synth_pii.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            found = find(row["text"], row["lang"])
            for label, start, end in row["labels"]["spans"]:
                if label in kinds:
                    there[label] += 1
                    whole[label] += any(
                        each.kind == kinds[label] and each.start <= start and each.end >= end
                        for each in found
                    )
    record_property("pii_found", round(whole.total() / there.total(), 4))
    assert there.total() == 98
    assert whole.total() / there.total() >= 0.99


def real_texts(shared_data: Path, each: int) -> list[str]:
    """Give the first texts of every set."""
    texts: list[str] = []
    for path in sorted(shared_data.glob("*/text/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for line in islice(lines, each)]
    return texts


def test_the_gate_closes_on_nothing(shared_data, monkeypatch) -> None:
    """What is found without the gate is found with it, in real posts and in the examples here."""
    texts = [*real_texts(shared_data, 300), *TRAPS]
    behind = [find(text, "de") for text in texts]
    monkeypatch.setattr(pii, "may_hold", lambda _: True)
    assert [find(text, "de") for text in texts] == behind


def test_real_posts_keep_everything_else(shared_data) -> None:
    """Masking cuts out the findings alone, and a masked post holds nothing more."""
    for text in real_texts(shared_data, 300):
        assert_masks_only_findings(text)


def assert_masks_only_findings(text: str, lang: str | None = "de") -> None:
    """Check every law of finding and masking on one text."""
    found = find(text, lang, NUMBERS)
    kept: list[str] = []
    at = 0
    for finding in found:
        assert at <= finding.start < finding.end <= len(text)
        kept += (text[at : finding.start], f"[{finding.kind}]")
        at = finding.end
    kept.append(text[at:])
    masked = mask(text, found)
    assert masked == "".join(kept)
    again = find(masked, lang, NUMBERS)
    assert again == (), [masked[each.start : each.end] for each in again]


PIECES = st.sampled_from(
    [
        "0171 1234567",
        "+49 171 1234567",
        "0221/4711",
        "(415) 555-2671",
        "001 415 555 2671",
        "668 5702",
        "12345",
        "2017",
        "12.10.2017",
        "12:30",
        "49,99",
        "€",
        "DE89370400440532013000",
        "DE89 3704",
        "GB29 NWBK 6016 1331 9268 19",
        "4111 1111 1111 1111",
        "a@b.de",
        "max (at) web.de",
        "max at web dot de",
        "@anna",
        "@anna@b.social",
        "#123456",
        "https://t.co/123456789",
        "www.b.de",
        "Hauptstraße 5",
        "Berliner Platz 5",
        "50667 Köln",
        "10 Downing St",
        "SW1A 2AA",
        "IL 62704",
        "KD-12345674",
        "AB-123456",
        "Tel.",
        "Fax:",
        "IBAN",
        "Karte",
        "mail",
        "Order",
        "unter",
        "call me at",
        "office",
        "[phone]",
        "[email]",
        " ",
        "  ",
        "\n",
        ",",
        ".",
        "-",
        "/",
        "(",
        ")",
        "x",
        "0",
        "1",
        "+",
        "@",
        "at",
        "dot",
        "\x1a",
        "🙂",
        "é",
    ]
)


@given(st.lists(PIECES, max_size=14).map("".join), st.sampled_from(["de", "en", "fr", None]))
@example("0171 1234567 668 5702", "de")
@example("a@b.de0171 1234567@web.de", "de")
@example("0171-" * 300, "de")
@example("50667 Köln0221/4711+49 171 12345670221/4711Berliner Platz 5", "de")
def test_laws_on_texts_of_nearly_personal_data(text: str, lang: str | None) -> None:
    """Findings are sorted, disjoint and inside; the rest is untouched; nothing is left to find."""
    assert_masks_only_findings(text, lang)


@given(st.text(max_size=300), st.sampled_from(["de", "xx", None]))
def test_laws_on_any_text(text: str, lang: str | None) -> None:
    """The same for whatever else is said."""
    assert_masks_only_findings(text, lang)


NEARLY = [
    *("1", "0", "@", "(", "+", "+49 ", "1 ", "0 ", "1.", "1,", "1-", "0171-", "a@", "a.", "a", "-"),
    *(
        "123 ",
        "a 1 ",
        "1 A ",
        "A b ",
        "DE12",
        "#1",
        "€1",
        "1:11",
        "12.12.",
        "http://",
        "www.",
        "٠١٢",
    ),
    *("a at ", "(at)", "Weg 1 ", "Straße", "e\u0301\u0302", "🙂", "שלום ", "x-", "\x1a", "[", "\n"),
]
REALLY = [
    *("0171 1234567 ", "0171 1234567, ", "a@b.de ", "max (at) web.de ", "Tel. 123456 "),
    *("DE89 3704 0044 0532 0130 00 ", "4111 1111 1111 1111 ", "Hauptstr. 1 ", "12345 Berlin "),
    *("SW1A 2AA ", "5 Main St ", "max at web dot de ", "Berliner Straße 1, 12345 Berlin "),
]


def seconds(text: str) -> float:
    """Give the processor time of one search."""
    begin = time.process_time()
    find(text, "de")
    return time.process_time() - begin


@pytest.fixture(scope="module", autouse=True)
def _metadata() -> None:
    """The first number of a region loads what phonenumbers knows about it."""
    find("+49 171 1234567 0171 1234567 079 1234567 020 7946 0958 (415) 555-2671", "de")


@pytest.mark.parametrize("piece", NEARLY)
def test_time_is_bounded(piece: str) -> None:
    """30,000 characters of what nearly is personal data: 5 ms on a quiet core, doubled for others."""
    text = (piece * 30_000)[:30_000]
    assert min(seconds(text) for _ in range(4)) < 0.01


@pytest.mark.parametrize("piece", REALLY)
def test_a_text_of_nothing_else_is_masked_in_bounded_time(piece: str) -> None:
    """30,000 characters of personal data: nothing of it is left, behind whatever bound."""
    text = (piece * 30_000)[: 30_000 // len(piece) * len(piece)]
    assert min(seconds(text) for _ in range(4)) < 0.02
    left = mask(text, find(text, "de"))
    assert not any(each.isdigit() for each in left)
    assert "@" not in left
    assert "web" not in left


@pytest.mark.parametrize(
    "noise", ["x" * 30_000, "1" * 30_000, "1 " * 15_000, "+49 " * 7500, "@" * 30_000]
)
@pytest.mark.parametrize("secret", ["+49 171 1234567", "DE89370400440532013000", "anna@web.de"])
def test_nothing_stays_behind_a_bound(noise: str, secret: str) -> None:
    """What comes after 30,000 characters of anything is masked too."""
    text = f"{noise} {secret} ."
    left = mask(text, find(text, "de"))
    assert "171" not in left[-60:]
    assert "3704" not in left[-60:]
    assert "anna" not in left[-60:]
    assert left.endswith(" .")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Ihr erreicht mich unter 0171 1234567 am Vormittag", "unter [phone] am Vormittag"),
        ("Tel. +49 171 1234567 am besten abends", "Tel. [phone] am besten"),
        ("Tel. 040 123456 am Abend", "Tel. [phone] am Abend"),
        ("Meine Nummer ist 0171 1234567\nAm Montag bin ich da", "ist [phone]\nAm Montag"),
        ("Please call me on 07911 123456 x", "on [phone] x"),
        ("phone 020 7946 0018\nM 07911 123456", "phone [phone]\nM [phone]"),
    ],
)
def test_an_ordinary_word_behind_a_telephone_number_is_no_unit(text: str, masked: str) -> None:
    assert masked in mask(text, find(text, None))


def test_a_list_of_numbers_behind_the_close_look_is_one_finding() -> None:
    """A meter's log must not make the event larger than Kafka takes."""
    text = "hallo\n" + "12\n" * 20_000
    assert len(find(text, None)) < 10
