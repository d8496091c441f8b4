"""Whose words a text holds: mails by recorded ones with what others expect, posts by cases."""

import email
import re
import tarfile
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.language.reading import LINES, Reading, own_words, text_of

MAIL = """Hallo Team,

mein Anschluss ist seit Montag tot.
Wann kommt jemand?

Mit freundlichen Grüßen
Erika Muster
"""


def lines(text: str) -> list[str]:
    """Return what stands in the lines that are not blank."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def parts(reading: Reading) -> list[tuple[int, int]]:
    """Return all spans, rising."""
    return sorted(
        chain(
            reading.own,
            reading.answered,
            reading.closing,
            reading.quoted,
            reading.signature,
            reading.disclaimer,
        )
    )


def assert_whole(text: str, reading: Reading) -> None:
    """Every code point that is no white space is in exactly one part, the parts are trimmed."""
    at = 0
    for start, end in parts(reading):
        assert at <= start < end <= len(text)
        assert not text[at:start].strip()
        assert text[start:end] == text[start:end].strip()
        at = end
    assert not text[at:].strip()


@pytest.fixture(scope="session")
def trimmer(shared_data) -> dict[str, str]:
    """The mails of a reply trimmer with what it makes of them, by path."""
    archive = shared_data / "permissive" / "payloads" / "email_reply_quotes_trimmer.tar.gz"
    return texts_of(archive)


@pytest.fixture(scope="session")
def others(shared_data) -> dict[str, str]:
    """The mails of two other trimmers, by path."""
    return texts_of(shared_data / "permissive" / "payloads" / "email_reply_quotes_other.tar.gz")


def texts_of(archive) -> dict[str, str]:
    """Read the files of an archive; a mail with a header gives its plain text."""
    found = {}
    with tarfile.open(archive) as files:
        for member in files:
            if member.isfile():
                content = files.extractfile(member).read()
                name = "/".join(member.name.split("/")[-2:])
                found[name] = plain(content) if name.endswith(".eml") else content.decode()
    return found


def plain(content: bytes) -> str:
    """Return the plain text of a mail."""
    for part in email.message_from_bytes(content).walk():
        if part.get_content_type() == "text/plain":
            return part.get_payload(decode=True).decode("utf-8", "replace")
    return ""


def test_the_replies_of_recorded_mails(trimmer) -> None:
    """What a person sees of a reply is what the trimmer leaves of it, in every mail."""
    seen = 0
    for name, expected in trimmer.items():
        folder, _, file = name.partition("/")
        if folder not in {"trimmed", "before"}:
            continue
        text = trimmer[f"emails/{file}"]
        reading = own_words(text, "email")
        assert_whole(text, reading)
        assert lines(text_of(text, reading.reply)) == lines(expected), file
        seen += 1
    assert seen == 21


def test_what_recorded_mails_quote_and_append(trimmer) -> None:
    """The rest is what the trimmer elides, which joins lines and unifies the marks of quotations."""
    seen = 0
    for name, expected in trimmer.items():
        folder, _, file = name.partition("/")
        text = trimmer.get(f"emails/{file}")
        if folder != "elided" or text is None:
            continue
        reading = own_words(text, "email")
        rest = text_of(text, sorted((*reading.quoted, *reading.signature, *reading.disclaimer)))
        unmarked = re.compile(r"^(?:C|Richard)>", re.MULTILINE)
        assert re.findall(r"\w+", unmarked.sub(">", rest)) == re.findall(r"\w+", expected), file
        seen += 1
    assert seen >= 20


def test_recorded_mails_without_anything_to_trim(trimmer) -> None:
    """Code, lists and plain text stay; a quotation above an answer is answered."""
    for file in ("block_code_spacers", "retains_spaces_and_formatting", "text_only"):
        text = trimmer[f"emails/{file}.txt"]
        assert own_words(text, "email").own == ((0, len(text.rstrip())),)
    text = trimmer["emails/quote_and_text.txt"]
    reading = own_words(text, "email")
    assert text_of(text, reading.own) == "And this is some text."
    assert text_of(text, reading.answered) == "> This is a quote."


@pytest.mark.parametrize(
    ("name", "own", "closing", "signature"),
    [
        ("zapier/email_1_1.txt", "Hi folks … Java HTTP API.", "-Abhishek Kona", "____"),
        ("zapier/email_1_3.txt", "Oh thanks. … would be great.", "-Abhishek Kona", "____"),
        ("zapier/email_1_4.txt", "Awesome! I haven't had another problem with it.", "", ""),
        ("zapier/email_1_6.txt", "I get proper rendering as well.", "", "Sent from a magnificent"),
        ("zapier/email_1_7.txt", ":+1:", "", ""),
        ("zapier/email_2_2.txt", "Outlook with a reply directly above line", "", ""),
        ("zapier/email_2_3.txt", "Outlook with a reply above headers using unusual format", "", ""),
        ("zapier/email_bullets.txt", "test 2 … - and another", "", "-- "),
        ("zapier/email_sig_delimiter_in_middle_of_line.txt", "Hi there! … kthxbai", "", ""),
        ("zapier/pathological.txt", "I think you're onto … get back to a computer.", "", ""),
        ("standard_replies/aol.eml", "Hello", "", ""),
        ("standard_replies/apple_mail.eml", "Hello", "", ""),
        ("standard_replies/apple_mail_2.eml", "Hello", "", ""),
        ("standard_replies/comcast.eml", "Hello", "", ""),
        ("standard_replies/gmail.eml", "Hello", "", ""),
        ("standard_replies/hotmail.eml", "Hello", "", ""),
        ("standard_replies/iphone.eml", "Hello", "", "Sent from my iPhone"),
        ("standard_replies/outlook.eml", "Hello", "", ""),
    ],
)
def test_the_mails_of_many_clients(others, name, own, closing, signature) -> None:
    """Every plain text of two more trimmers: own words (first … last), closing, signature."""
    text = others[name]
    reading = own_words(text, "email")
    assert_whole(text, reading)
    first, _, last = own.partition(" … ")
    said = text_of(text, reading.own)
    assert said.startswith(first)
    assert said.endswith(last)
    assert last or said == first
    assert text_of(text, reading.closing) == closing
    assert text_of(text, reading.signature).startswith(signature)
    assert bool(reading.signature) == bool(signature)


@pytest.mark.parametrize(
    "announcement",
    [
        "On Mon, Feb 1, 2016 at 6:32 PM, Nordlicht <hilfe@nordlicht.example> wrote:",
        "On Mon, Feb 1, 2016 at 6:32 PM, Nordlicht\n<hilfe@nordlicht.example>\nwrote:",
        "Am 01.02.2016 um 18:32 schrieb Nordlicht Hilfe:",
        'Am 21.04.2016 17:48 schrieb "Nordlicht" <hilfe@nordlicht.example\n>:',
        "Nordlicht <hilfe@nordlicht.example> schrieb am Fr., 28.\nApr. 2017 um 11:53 Uhr:",
        "Le 1 févr. 2016 à 18:32, Nordlicht <hilfe@nordlicht.example> a écrit :",
        "El lun., 1 feb. 2016 a las 18:32, Nordlicht (<hilfe@nordlicht.example>) escribió:",
        "Op 1 feb. 2016 om 18:32 schreef Nordlicht <hilfe@nordlicht.example>:",
        "Il giorno 1 feb 2016, alle ore 18:32, Nordlicht ha scritto:",
        "-----Original Message-----",
        "-----Ursprüngliche Nachricht-----\nVon: Nordlicht\nBetreff: Ihre Anfrage",
        "-------- Weitergeleitete Nachricht --------",
        "-----Message d'origine-----",
        "-----Mensaje original-----",
        "-----Oorspronkelijk bericht-----",
        "-----Messaggio originale-----",
        (
            "________________________________\nVon: Nordlicht <hilfe@nordlicht.example>\n"
            "Gesendet: Montag, 1. Februar 2016 18:32\nAn: Erika Muster\nBetreff: Ihre Anfrage"
        ),
        "From: Nordlicht\nSent: Monday, 1 February 2016 18:32\nTo: Erika\nSubject: Your question",
        "De : Nordlicht\nEnvoyé : lundi 1 février 2016 18:32\nÀ : Erika\nObjet : Votre demande",
        "De: Nordlicht\nEnviado el: lunes, 1 de febrero\nPara: Erika\nAsunto: Su consulta",
        "Van: Nordlicht\nVerzonden: maandag 1 februari\nAan: Erika\nOnderwerp: Uw vraag",
        "Da: Nordlicht\nInviato: lunedì 1 febbraio\nA: Erika\nOggetto: La sua domanda",
        "*Von:* Nordlicht\n*Gesendet:* Montag\n*An:* Erika; Otto;\n Hans\n*Betreff:* Anfrage",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_announces_a_quotation(announcement: str, end: str) -> None:
    """Everything after it is another's, with and without marks on the lines."""
    for mark in ("", "> "):
        quotation = "\n".join(f"{mark}{line}" for line in lines(MAIL))
        text = f"{MAIL}\n{announcement}\n\n{quotation}\n".replace("\n", end)
        reading = own_words(text, "email")
        assert_whole(text, reading)
        assert lines(text_of(text, reading.own)) == lines(MAIL)[:3]
        assert lines(text_of(text, reading.closing)) == lines(MAIL)[3:]
        assert text_of(text, reading.quoted).replace("\r", "").startswith(announcement[:20])
        assert not reading.signature


@pytest.mark.parametrize(
    "line",
    [
        "Sent from my iPhone",
        "Von meinem iPhone gesendet",
        "Gesendet von Outlook für iOS",
        "Gesendet mit der GMX Mail App",
        "Diese Nachricht wurde von meinem Android-Gerät mit GMX Mail gesendet.",
        "Envoyé de mon iPhone",
        "Enviado desde mi iPhone",
        "Verstuurd vanaf mijn iPhone",
        "Inviato da iPhone",
        "Get Outlook for Android",
        "-- \nErika Muster\n040 123456",
        "--\nErika Muster",
        "_______________\nErika Muster, Musterweg 1",
    ],
)
def test_what_a_mail_program_appends(line: str) -> None:
    """It is a signature, before a quotation and at the end."""
    for after in ("", "\n\nAm 01.02.2016 um 18:32 schrieb Otto:\n> Hallo"):
        text = f"Mein Netz ist weg.\n\n{line}{after}"
        reading = own_words(text, "email")
        assert text_of(text, reading.own) == "Mein Netz ist weg."
        assert text_of(text, reading.signature) == line
        assert bool(reading.quoted) == bool(after)


@pytest.mark.parametrize(
    "notice",
    [
        (
            "This email and its attachments are confidential. If you are not the intended recipient, "
            "please delete it."
        ),
        (
            "Diese E-Mail enthält vertrauliche Informationen. Wenn Sie nicht der richtige Adressat "
            "sind, vernichten Sie diese Mail.\nDas unerlaubte Kopieren ist nicht gestattet."
        ),
        "Ce message est confidentiel. Si vous n'êtes pas le destinataire, merci de le supprimer.",
        "Este mensaje es confidencial. Si no es el destinatario, elimínelo.",
        "Dit bericht is vertrouwelijk. Bent u niet de geadresseerde, verwijder het dan.",
        "Questo messaggio è riservato. Se non siete il destinatario, cancellatelo.",
    ],
)
def test_legal_notices(notice: str) -> None:
    """They are no words of anybody's."""
    text = f"Mein Netz ist weg.\n\n{notice}\n"
    reading = own_words(text, "email")
    assert text_of(text, reading.own) == "Mein Netz ist weg."
    assert lines(text_of(text, reading.disclaimer)) == lines(notice)


@pytest.mark.parametrize(
    "text",
    [
        "Danke!",
        "Vielen Dank",
        "Gruß Erika",
        "Diese vertraulichen Daten habe ich Ihnen schon genannt.",
        "Am Montag, 01.02.2016 schrieb mir Ihr Kollege:\nalles wird gut.\nNichts wurde gut.",
        "Guten Tag,\nam 3.5. um 10:30 schrieb mir Ihr Kollege:\nalles wird gut.\nNein.",
        "Meine Fahrt\nVon: Köln\nAn: Bonn\nDatum: 3.5.2021\nDer Zug fiel aus.",
        "Kurz gesagt:\n- zu teuer\n- zu spät\n- C",
        "Ich warte\n--\n" + "\n".join(f"Grund {number}" for number in range(30)),
        "Preis\n_______\n" + "\n".join(f"Posten {number}" for number in range(30)),
        "Sent from London, arrived nowhere: I want my money back for the parcel that you lost!",
        "On this day 2020 I wrote\n\nnothing: at all",
        "```\n> not a quotation\n-- \n```\nThat is what it prints.",
        "-- \nNichts davor",
    ],
)
def test_what_stays_the_authors(text: str) -> None:
    """What only looks like a quotation, a header, a signature or a notice."""
    reading = own_words(text, "email")
    assert reading == Reading(own=((0, len(text)),))


def test_answers_between_quotations() -> None:
    """They are own words; what they answer is kept for who reads them."""
    text = (
        "Hallo,\n\nAm 01.02.2016 um 18:32 schrieb Otto:\n> Wie heißen Sie?\n\nErika.\n\n"
        "> Und die Nummer?\n\n4711.\n\n> Danke!\n> Otto\n"
    )
    reading = own_words(text, "email")
    assert_whole(text, reading)
    assert text_of(text, reading.own) == "Hallo,\nErika.\n4711."
    assert text_of(text, reading.answered) == "> Wie heißen Sie?\n> Und die Nummer?"
    assert text_of(text, reading.quoted).endswith("> Danke!\n> Otto")


def test_a_question_below_a_quotation_is_no_signature() -> None:
    """Few lines after all quotations are one, unless they ask."""
    above = "Hallo,\n\nAm 01.02.2016 um 18:32 schrieb Otto:\n> Wir melden uns.\n\n"
    asked = own_words(f"{above}Wann denn?\n", "email")
    signed = own_words(f"{above}Erika Muster\n", "email")
    assert text_of(f"{above}Wann denn?", asked.own) == "Hallo,\nWann denn?"
    assert text_of(f"{above}Erika Muster", signed.signature) == "Erika Muster"


def test_a_mail_of_nothing_but_quotations_has_no_own_words() -> None:
    """The reader decides what to do with it."""
    text = "> Mein Netz ist weg.\n> Wirklich.\n"
    assert own_words(text, "email") == Reading(quoted=((0, len(text) - 1),))


def test_what_follows_many_lines_belongs_to_the_last() -> None:
    """Nothing is lost, and nothing beyond is told apart."""
    text = "Zeile\n" * LINES + "> kein Zitat mehr?\nrest"
    reading = own_words(text, "email")
    assert_whole(text, reading)
    assert reading.own == ((0, 6 * LINES - 1),)
    assert text_of(text, reading.quoted).endswith("rest")


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("Mein Netz ist weg", "Mein Netz ist weg"),
        ("RT @otto: Mein Netz ist weg", ""),
        ("RT @otto Mein Netz ist weg", ""),
        ("Meins auch! RT @otto: Mein Netz ist weg", "Meins auch!"),
        ("Bitte RT @nordlicht mein Netz ist weg", "Bitte RT @nordlicht mein Netz ist weg"),
        ("> Mein Netz ist weg\nMeins auch!", "Meins auch!"),
        ("Dazu:\n> Mein Netz ist weg\n> ganz\nMeins auch!", "Dazu:\nMeins auch!"),
        ("> Mein Netz ist weg", "> Mein Netz ist weg"),
        ("> Mein Netz\n> ist weg\n", "> Mein Netz\n> ist weg"),
        ("> 30 Minuten gewartet\nund nun?", "> 30 Minuten gewartet\nund nun?"),
        ("> Wartezeit\n> 30 Minuten\n>\n> mehr\nWirklich?", "Wirklich?"),
        (">:( schon wieder", ">:( schon wieder"),
        (">.<", ">.<"),
        (">_< warum", ">_< warum"),
        ("\u201e Das Netz steht \u201c \u2013 @nordlicht", ""),
        ("\u201cThe net is up\u201d (via @nordlicht)", ""),
        ('"The net is up" via @nordlicht', ""),
        ("\u00bbDas Netz steht\u00ab @nordlicht", "\u00bbDas Netz steht\u00ab @nordlicht"),
        ("\u201c@nordlicht: The net is up\u201d Not here.", "Not here."),
        ("\u201c@nordlicht: The net is up", "\u201c@nordlicht: The net is up"),
        ('"Wir sind da" - seit 40 Minuten!', '"Wir sind da" - seit 40 Minuten!'),
        ("\u201eNetz\u201c und \u201eService\u201c", "\u201eNetz\u201c und \u201eService\u201c"),
        ("-- \nkein Ende", "-- \nkein Ende"),
        ("", ""),
    ],
)
def test_what_a_post_quotes(text: str, own: str) -> None:
    """Reposts, marked lines, whole posts between quotation marks with a name."""
    reading = own_words(text, "post")
    assert_whole(text, reading)
    assert text_of(text, reading.own) == own


PIECES = [
    *"aZ9 \t\n\r>@:-_*„“”»«\"'(.?\u0301\u202e\x00\u2028🔥",
    "\n\n",
    "\n> ",
    "\nOn 1.1.2020 10:10 x@y wrote:\n",
    "\nAm 1.1.2020 um 10:10 schrieb X:\n",
    "\nFrom: x\nTo: y\nSubject: z\n",
    "\n-- \n",
    "\n_____\n",
    "\n```\n",
    "\nSent from my iPhone\n",
    "\n-----Original Message-----\n",
    "\nThis is confidential, delete it.\n",
    "\nMfG\n",
    "RT @x: ",
    "?",
]


@given(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.sampled_from(["email", "post"])
)
def test_every_word_is_in_exactly_one_part(text: str, kind: str) -> None:
    """Whatever is said."""
    reading = own_words(text, kind)
    assert_whole(text, reading)
    assert own_words(text, kind) == reading
