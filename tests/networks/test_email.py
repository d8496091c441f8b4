"""Mails in klingel's words: recorded ones, reply trims with expected outcome, hostile ones."""

import email
import email.policy
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klingel.errors import InvalidMessage
from klingel_networks.conformance import NetworkConformance, Sample
from klingel_networks.contract import Delivery
from klingel_networks.email import NETWORK
from klingel_networks.email.charsets import codec_of, decoded
from klingel_networks.email.header import addresses, date, read_header, words
from klingel_networks.email.mapping import (
    attachment_of,
    context_of,
    described,
    identify,
    kept,
)
from klingel_networks.email.markup import text_of_html
from klingel_networks.email.nature import natures
from klingel_networks.email.threads import RELATED, base_subject, is_answer, written
from klingel_networks.mapped import map_delivery

KEY = b"0123456789abcdef"
OWN = ("service@nordlicht.example",)
ANNA, BERT, EVE = "anna@kunde.example", "bert@kunde.example", "eve@fremd.example"
MAILBOX = {"source": "service"}


def mail(
    body: bytes | str = "Mein Anschluss ist tot.",
    *,
    author: str = f"Anna <{ANNA}>",
    to: str = OWN[0],
    subject: str = "Kein Netz",
    mid: str | None = "1@kunde.example",
    fields: str = "",
    sent: str = "Mon, 23 Nov 2026 09:00:00 +0100",
) -> bytes:
    """Return a mail."""
    head = f"From: {author}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {sent}\r\n"
    if mid is not None:
        head += f"Message-ID: <{mid}>\r\n"
    content = body if isinstance(body, bytes) else body.encode()
    return (head + fields + "\r\n").encode() + content


def delivered(content: bytes, **context: str) -> dict[str, Any]:
    """Return the event of a mail as the connector delivers it."""
    known = MAILBOX | context_of(content, OWN, KEY) | context
    (told,) = map_delivery(NETWORK, content, known)
    assert told["fate"] == "delivered", told
    return told["event"]


REPLY = mail(
    "Ja, seit gestern.\r\n\r\nAm 22.11.2026 um 10:00 schrieb Service:\r\n> Seit wann?\r\n",
    subject="AW: Kein Netz",
    mid="2@kunde.example",
    fields="References: <1@kunde.example> <a@nordlicht.example>\r\nIn-Reply-To: <a@nordlicht.example>\r\n",
)
BOUNCE = mail(
    b"""--b
Content-Type: text/plain

Not delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.kunde.example

Final-Recipient: rfc822; anna@kunde.example
Action: failed
--b--
""",
    author="MAILER-DAEMON@mx.kunde.example",
    fields="Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n",
)


class TestEmail(NetworkConformance):
    """Mails, one of each kind."""

    network = "email"
    samples = (
        Sample(
            REPLY,
            MAILBOX | context_of(REPLY, OWN, KEY),
            again=(
                Delivery(REPLY.replace(b"\r\n", b"\n") + b"\n", MAILBOX | {"folder": "Archive"}),
                Delivery(b"X-Moved: yes\r\n" + REPLY, MAILBOX | {"flags": "\\Seen", "uid": "9"}),
            ),
        ),
        Sample(BOUNCE, MAILBOX),
        Sample(b"nothing that is a mail", MAILBOX, refused=1),
    )


# --- recorded mails ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def raw_mails(payloads) -> dict[str, bytes]:
    """The recorded mails by path."""
    return {name.partition("/")[2]: content for name, content in payloads("email_raw").items()}


def test_every_recorded_file_is_an_event_or_a_dead_letter_with_a_reason(payloads) -> None:
    """N files in, n results out; only what has no header at all is refused."""
    files = 0
    refused = []
    for archive in ("email_raw", "email_reply_quotes_other", "email_reply_quotes_trimmer"):
        for name, content in payloads(archive).items():
            files += 1
            told = map_delivery(NETWORK, content, {})
            assert len(told) == 1, name
            if told[0]["fate"] == "dead_lettered":
                assert told[0]["reason"] == "missing_field", name
                refused.append(name)
            else:
                assert told[0]["event"]["object_id"].startswith("email:mailbox:")
    assert files == 206 + 34 + 71
    # Beside the bare texts of the trimmers: a picture, and 26 bytes of prose.
    assert sorted(name for name in refused if "email_raw" in name) == [
        "email_raw/enmime/attach/fake.png",
        "email_raw/enmime/mail/erroneous.raw",
    ]
    assert not [name for name in refused if name.endswith(".eml")]


def test_recorded_mails_have_ids_of_their_own(raw_mails) -> None:
    """Equal ids mean equal content: of 206 files some are kept twice, none collide."""
    seen: dict[str, bytes] = {}
    for name, content in raw_mails.items():
        try:
            found = identify(content, {}).object_id
        except InvalidMessage:
            continue
        body = content.replace(b"\r", b"").partition(b"\n\n")[2].rstrip(b"\n")
        assert seen.setdefault(found, body) == body, name


# What the standard library's parser makes of it otherwise, and why ours is taken.
TEXT_DEVIATIONS = {
    "enmime/low-quality/bad-header-start.raw": "a broken first line hides the whole header there",
    "enmime/low-quality/bad-header-wrap.raw": "the header ends at the broken line there",
    "enmime/mail/multipart-wo-boundary.raw": "a part without text that we leave out",
    "enmime/parts/extra-base64-character.raw": "one character too many leaves it encoded there",
    "php-imap/issue-40.eml": "the header ends at the broken line there",
}


def test_plain_text_is_that_of_the_standard_librarys_parser(raw_mails) -> None:
    """Where the library finds a plain text by a charset that fits, ours begins with the same words."""
    compared = 0
    for name, content in raw_mails.items():
        expected = first_text(content)
        if not expected or name in TEXT_DEVIATIONS:
            continue
        told = map_delivery(NETWORK, content, {})[0]
        said = told["event"].get("text") or ""
        beginning = re.findall(r"\w+", kept(expected))[:8]
        assert " ".join(beginning) in " ".join(re.findall(r"\w+", said)), name
        compared += 1
    assert compared > 120


def first_text(content: bytes) -> str:
    """Return the first plain text of a mail as the standard library reads it; empty without."""
    message = email.message_from_bytes(content, policy=email.policy.compat32)
    if message.get_content_type() == "multipart/digest" or not message.items():
        return ""
    for part in message.walk():
        if part.get_content_maintype() == "message":
            return ""
        if part.get_content_type() == "text/plain" and not part.get_filename():
            payload = part.get_payload(decode=True)
            try:
                return payload.decode(part.get_content_charset() or "ascii")
            except (LookupError, UnicodeDecodeError, AttributeError):
                return ""
    return ""


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("enmime/parts/chardet-success-big-5.raw", "顏是家訓"),
        ("imap_tools/multi_charset/ks_c_5601-1987.eml", "test\n\n스티해"),
        ("imap_tools/multi_charset/japanese_iso_2022.eml", "まみむめも\n\nすみません。"),
        ("enmime/low-quality/unk-charset-html-only.raw", "Attachment\n\nHello World!"),
        ("enmime/mail/non-mime-html-charset-header-only.raw", "Test\n\nTest Müller"),
        ("php-imap/unknown_encoding.eml", "test\n\nMyPlain"),
        ("flanker/missing-final-boundary.eml", "Test\n\nSome body"),
    ],
)
def test_broken_mime_and_charsets(raw_mails, name, beginning) -> None:
    """Undeclared, unknown and wrong charsets, missing boundaries, unknown encodings."""
    assert map_delivery(NETWORK, raw_mails[name], {})[0]["event"]["text"].startswith(beginning)


NATURES = {
    "flanker/bounce/broken-mime.eml": ("bounce",),
    "flanker/bounce/delayed.eml": ("bounce",),
    "flanker/bounce/gmail-invalid-address.eml": ("bounce",),
    "flanker/bounce/mailbox-full.eml": ("bounce",),
    "php-imap/example_bounce.eml": ("bounce",),
    "enmime/mail/multipart-wo-boundary.raw": ("bounce",),
    "mikel-mail/multipart_report_emails/report_530.eml": ("bounce", "auto_generated"),
    "mikel-mail/multipart_report_emails/multipart_report_multiple_status.eml": ("bounce",),
    "flanker/disposition-notification.eml": ("read_receipt",),
    "flanker/complaints/aol.eml": ("abuse_report", "mailing_list"),
    "flanker/complaints/yahoo.eml": ("abuse_report",),
    "chatwoot/non_utf_encoded_mail.eml": ("auto_reply", "bulk"),
    "php-imap/1366671050@github.com.eml": ("mailing_list", "bulk"),
    "imap_tools/plain_emails/raw_email_bad_time.eml": ("spam_flag",),
    "chatwoot/support.eml": (),
}


def test_the_nature_of_recorded_mails(raw_mails) -> None:
    """Bounces, receipts, complaints of providers, automatic answers, lists, spam, plain mails."""
    for name, expected in NATURES.items():
        told = map_delivery(NETWORK, raw_mails[name], {})[0]["event"]
        assert tuple(told.get("natures", ())) == expected, name
        nobodys = {"bounce", "read_receipt", "abuse_report", "auto_reply"} & set(expected)
        assert told["kind"] == ("unknown" if nobodys else "email"), name


# --- trims ---------------------------------------------------------------------------------------


def lines(text: str) -> list[str]:
    """Return what stands in the lines that are not blank."""
    return [line.strip() for line in text.splitlines() if line.strip()]


FORWARDS = {"embedded_email_german_3.txt", "forwarded_apple.txt", "forwarded_gmail.txt"}
"""Their outcome stands in `before`: what the author wrote before what is forwarded."""


def test_recorded_replies_are_trimmed_as_expected(payloads) -> None:
    """All outcomes that the trimmer's files state hold, white space at line ends apart."""
    files = {
        name.partition("/")[2]: content.decode()
        for name, content in payloads("email_reply_quotes_trimmer").items()
    }
    mails = {name: text for name, text in files.items() if name.startswith("emails/")}
    seen = 0
    for name, text in mails.items():
        file = name.removeprefix("emails/")
        folder = "before" if file in FORWARDS else "trimmed"
        expected = files.get(f"{folder}/{file}")
        if expected is None:
            # Nothing is stated that is left out of it: all of it stays.
            assert f"elided/{file}" not in files
            expected = text
        said = map_delivery(NETWORK, mail(text.encode(), subject="Re: x"), {})[0]["event"]["text"]
        assert lines(said) == lines(expected), file
        seen += 1
    assert seen == len(mails) == 25


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("html_replies/gmail.html", "Hi. I am fine. Thanks, Alex"),
        ("html_replies/ms_outlook_2003.html", "Hi. I am fine. Thanks, Alex"),
        ("html_replies/ms_outlook_2007.html", "Hi. I am fine. Thanks, Alex"),
        ("html_replies/ms_outlook_2010.html", "Hi. I am fine. Thanks, Alex"),
        ("html_replies/yandex_ru.html", "Hi. I am fine. Thanks, Alex"),
        ("OLK_SRC_BODY_SECTION.html", "Reply"),
        ("reply-separated-by-hr.html", "Hi there Bob"),
    ],
)
def test_recorded_html_replies(payloads, file, expected) -> None:
    """What mail programs write around a quotation in HTML is known."""
    html = payloads("email_reply_quotes_other")[f"email_reply_quotes_other/talon/{file}"]
    content = mail(html, subject="Re: x", fields="Content-Type: text/html; charset=utf-8\r\n")
    assert delivered(content)["text"].split() == expected.split()


def test_recorded_replies_with_a_header(payloads) -> None:
    """Replies as eight programs write them: what is left holds nothing of what they answer."""
    for name, content in payloads("email_reply_quotes_other").items():
        if "/standard_replies/" not in name:
            continue
        said = map_delivery(NETWORK, content, {})[0]["event"]["text"]
        assert said.strip(), name
        assert "wrote:" not in said, name
        assert not re.search(r"^(?:>|From:|Von:)", said, re.MULTILINE), name


SIGNATURES_THAT_STAY = {
    "jeff_body": "a name and a device without a delimiter may be the last words of the text",
}


def test_recorded_signatures(payloads) -> None:
    """Own words stay whole; a signature that nothing parts from them stays with them."""
    found = payloads("email_reply_quotes_other")
    stripped = "email_reply_quotes_other/talon/signature/emails/stripped/"
    for name in ("camel_case_body", *SIGNATURES_THAT_STAY):
        text = found[stripped + name].decode()
        assert lines(kept(text)) == lines(text), name
    parted = f"Hallo\n\n-- \n{found[stripped + 'long_signature'].decode()}"
    assert kept(parted) == "Hallo"


def test_a_mail_of_nothing_but_a_quotation_is_kept() -> None:
    """A forward without a word of one's own is what its author says."""
    text = "> one\n> two"
    assert kept(text) == text


def test_an_indented_block_is_a_quotation_only_where_it_is_announced() -> None:
    """Somebody's indented words are theirs."""
    assert text_of_html("<p>Es fehlt:</p><blockquote>die Rechnung</blockquote><p>Danke</p>") == (
        "Es fehlt:\n\ndie Rechnung\n\nDanke"
    )
    quoted = text_of_html(
        "<p>Ja.</p><p>Am 1.2.2026 um 10:00 schrieb S:</p><blockquote>Geht es?</blockquote>"
    )
    assert kept(quoted) == "Ja."
    assert kept(text_of_html("Ja<blockquote type=cite>Geht es?</blockquote>")) == "Ja"


# --- who, when, which --------------------------------------------------------------------------


def test_what_a_plain_mail_says() -> None:
    """Author under a keyed id, recipients, subject before the text, private, dated."""
    told = delivered(mail(to=f"{OWN[0]}, Bert <{BERT}>"))
    assert told["kind"] == "email"
    assert told["visibility"] == "private"
    assert told["text"] == "Kein Netz\n\nMein Anschluss ist tot."
    assert told["author"]["handle"] == ANNA
    assert told["author"]["name"] == "Anna"
    assert re.fullmatch(r"email:[0-9a-f]{32}", told["author"]["id"])
    assert told["target"] == OWN[0]
    assert told["mentions"][0] == OWN[0]
    assert re.fullmatch(r"email:[0-9a-f]{32}", told["mentions"][1])
    assert told["published_at"] == "2026-11-23T08:00:00Z"


def test_addresses_become_no_ids() -> None:
    """No address of a customer stands in an id or a name of a conversation."""
    content = mail(to=f"{OWN[0]}, {BERT}")
    told = delivered(content)
    names = (told["object_id"], told["conversation_id"], told["author"]["id"], *told["mentions"])
    assert not any("kunde" in each for each in names)
    assert "kunde" not in context_of(content, OWN, KEY)["ids"]
    other = map_delivery(NETWORK, content, MAILBOX | context_of(content, OWN, KEY[::-1]))[0]
    assert other["event"]["author"]["id"] != told["author"]["id"]


def test_the_brand_speaks_under_its_own_address() -> None:
    """An answer of the brand: its address is the author's id, the customer is addressed."""
    told = delivered(mail(author=f"Service <{OWN[0].title()}>", to=ANNA))
    assert told["author"]["id"] == OWN[0]
    assert told["target"] == delivered(mail())["author"]["id"]


def test_a_form_that_writes_from_the_brands_address_tells_the_customer() -> None:
    """`Reply-To` names the person whose word it is."""
    told = delivered(mail(author=f"Formular <{OWN[0]}>", fields=f"Reply-To: {ANNA}\r\n"))
    assert told["author"]["handle"] == ANNA


def test_identity_is_never_the_message_id_alone() -> None:
    """Another text, another author or another date under the same message id is another mail."""
    first = delivered(mail())["object_id"]
    others = [
        mail("anders"),
        mail(author=f"Eve <{EVE}>"),
        mail(sent="Mon, 23 Nov 2026 09:00:01 +0100"),
    ]
    ids = {delivered(each)["object_id"] for each in others}
    assert len(ids | {first}) == 4
    assert delivered(mail(mid=None))["object_id"] != delivered(mail("b", mid=None))["object_id"]


def test_attachments_are_told_by_their_bytes() -> None:
    """The same file has the same hash, however it is encoded; its name is only shown."""
    parts = "--b\r\n\r\nSiehe Anhang\r\n--b\r\nContent-Type: image/png; name=a.png\r\n{}\r\n--b--"
    type_ = "Content-Type: multipart/mixed; boundary=b\r\n"
    encoded = parts.format("Content-Transfer-Encoding: base64\r\n\r\nQUJD\r\nREVG")
    plain = parts.format("Content-Transfer-Encoding: 8bit\r\n\r\nABCDEF")
    (one,), (two,) = (delivered(mail(each, fields=type_))["media"] for each in (encoded, plain))
    assert one == two
    assert one["kind"] == "image"
    assert one["alt"] == "a.png"
    assert one["sha256"] == "e9c0f8b575cbfcb42ab3b78ecc87efa3b011d9a5d10b09fa4e96f240bf6a82f5"
    assert attachment_of(mail(encoded, fields=type_), one["sha256"]) == b"ABCDEF"
    assert attachment_of(mail(encoded, fields=type_), "0" * 64) is None


# --- conversations -------------------------------------------------------------------------------


def answer(
    *references: str,
    author: str = f"Anna <{ANNA}>",
    mid: str = "9@x",
    fields: str = "",
    **more: Any,
) -> bytes:
    """Return a mail that refers to others."""
    fields += f"References: {' '.join(f'<{each}>' for each in references)}\r\n"
    return mail("Und?", author=author, mid=mid, subject="Re: Kein Netz", fields=fields, **more)


def knowing(content: bytes, *related: bytes) -> dict[str, Any]:
    """Return the event of a mail whose mailbox holds the mails that it refers to."""
    found = [described(each, MAILBOX | context_of(each, OWN, KEY)) for each in related]
    return delivered(content, **{RELATED: written(found)})


FIRST = mail(to=f"{OWN[0]}, Bert <{BERT}>")
ANSWERED = mail(
    "Wir prüfen es.",
    author=OWN[0],
    to=ANNA,
    subject="Re: Kein Netz",
    mid="a@nordlicht.example",
    fields="References: <1@kunde.example>\r\nIn-Reply-To: <1@kunde.example>\r\n",
)


def test_a_conversation_is_the_same_in_whatever_order_it_arrives() -> None:
    """Opener, the brand's answer and the customer's next mail name it alike, each by itself."""
    later = answer("1@kunde.example", "a@nordlicht.example")
    names = {delivered(each)["conversation_id"] for each in (FIRST, ANSWERED, later)}
    assert len(names) == 1
    assert {knowing(later, FIRST, ANSWERED)["conversation_id"]} == names
    assert {knowing(later, ANSWERED, FIRST)["conversation_id"]} == names
    assert delivered(FIRST)["threading"] == "network"


def test_a_stranger_who_knows_a_message_id_is_linked_and_does_not_join() -> None:
    """Neither by references nor by the same message id; not even at the second try."""
    stranger = answer("1@kunde.example", author=f"Eve <{EVE}>", mid="e1@fremd.example")
    again = answer(
        "1@kunde.example", "e1@fremd.example", author=f"Eve <{EVE}>", mid="e2@fremd.example"
    )
    forged = mail(author=f"Eve <{EVE}>")
    theirs = delivered(FIRST)["conversation_id"]
    told = knowing(stranger, FIRST)
    assert told["conversation_id"] != theirs
    assert told["in_reply_to"] == delivered(FIRST)["object_id"]
    assert told["in_reply_to_author"] == delivered(FIRST)["author"]["id"]
    assert told["refers_to"] == theirs
    assert told["refers_to_customer"] == f"email:{delivered(FIRST)['author']['id']}"
    assert "refers_to" not in knowing(answer("1@kunde.example"), FIRST)
    assert delivered(stranger)["conversation_id"] == told["conversation_id"]
    for order in ((FIRST, stranger), (stranger, FIRST)):
        assert knowing(again, *order)["conversation_id"] == told["conversation_id"]
    assert knowing(forged, FIRST)["conversation_id"] != theirs


def test_who_forges_a_message_id_draws_nobody_over() -> None:
    """Of two mails with one message id the one that the server got first counts."""
    forged = mail("Ich bin Anna.", author=f"Eve <{EVE}>", to=f"{OWN[0]}, {ANNA}, {BERT}")
    early = {"internal_date": "Mon, 23 Nov 2026 08:00:00 +0000"}
    late = {"internal_date": "Mon, 23 Nov 2026 10:00:00 +0000"}
    found = [
        described(content, MAILBOX | context_of(content, OWN, KEY) | came)
        for content, came in ((FIRST, early), (forged, late))
    ]
    theirs = delivered(FIRST)["conversation_id"]
    for author in (f"Anna <{ANNA}>", f"Bert <{BERT}>"):
        later = answer("1@kunde.example", author=author)
        for order in (found, found[::-1]):
            assert delivered(later, **{RELATED: written(order)})["conversation_id"] == theirs


DISOWNED = "Authentication-Results: mx.nordlicht.example; spf=fail; dmarc=fail (p=none)\r\n"


@pytest.mark.parametrize("forged", [OWN[0], ANNA, BERT])
def test_who_forges_an_address_neither_speaks_for_it_nor_joins(forged) -> None:
    """What the receiving server calls disowned is somebody else's word, a stranger's."""
    content = mail(
        "Erledigt!",
        author=forged,
        to=f"{OWN[0]}, {ANNA}",
        subject="Re: Kein Netz",
        mid="f@x",
        fields=DISOWNED + "References: <1@kunde.example>\r\n",
    )
    told = knowing(content, FIRST)
    genuine = knowing(content.replace(b"dmarc=fail", b"dmarc=pass"), FIRST)
    assert genuine["conversation_id"] == delivered(FIRST)["conversation_id"]
    assert told["conversation_id"] not in {genuine["conversation_id"], None}
    assert delivered(content)["conversation_id"] == told["conversation_id"]
    assert told["author"]["id"] != genuine["author"]["id"]
    assert told["natures"] == ["forged_sender"]
    assert "natures" not in genuine
    # Nor does what answers the forged mail bring it in.
    again = answer("1@kunde.example", "f@x", author=forged, fields=DISOWNED)
    assert knowing(again, FIRST, content)["conversation_id"] == told["conversation_id"]


def test_the_brands_answer_to_a_stranger_stays_with_the_stranger() -> None:
    """And the one to the customer with the customer."""
    stranger = answer("1@kunde.example", author=f"Eve <{EVE}>", mid="e1@fremd.example")
    to_eve = answer("1@kunde.example", "e1@fremd.example", author=OWN[0], to=EVE)
    to_anna = answer("1@kunde.example", author=OWN[0], to=ANNA)
    assert (
        knowing(to_eve, FIRST, stranger)["conversation_id"]
        == delivered(stranger)["conversation_id"]
    )
    assert knowing(to_anna, FIRST)["conversation_id"] == delivered(FIRST)["conversation_id"]


def test_who_was_written_to_joins() -> None:
    """Bert was in copy: his answer belongs to the conversation, and so does what answers it."""
    berts = answer("1@kunde.example", author=f"Bert <{BERT}>", mid="b@kunde.example")
    theirs = delivered(FIRST)["conversation_id"]
    assert knowing(berts, FIRST)["conversation_id"] == theirs
    to_bert = answer("1@kunde.example", "b@kunde.example", author=OWN[0], to=BERT)
    assert knowing(to_bert, FIRST, berts)["conversation_id"] == theirs
    # Without the mailbox's word it is a conversation of its own: linked, never joined by a guess.
    assert delivered(berts)["conversation_id"] != theirs


def test_an_answer_without_references_finds_its_subject_and_people() -> None:
    """By the mailbox's word; alone, answers of one subject and person are one conversation."""
    bare = mail("Und?", subject="AW: Re: Kein Netz", mid="7@x")
    assert knowing(bare, FIRST)["conversation_id"] == delivered(FIRST)["conversation_id"]
    assert knowing(bare, FIRST)["in_reply_to"] == delivered(FIRST)["object_id"]
    other = mail("Nun?", subject="Antwort: Kein Netz", mid="8@x")
    assert delivered(bare)["conversation_id"] == delivered(other)["conversation_id"]
    strangers = mail("Und?", subject="AW: Kein Netz", author=EVE, mid="8@x")
    assert knowing(strangers, FIRST)["conversation_id"] != delivered(FIRST)["conversation_id"]
    assert "in_reply_to" not in knowing(strangers, FIRST)
    new = mail("Und?", subject="Kein Netz", mid="6@x")
    assert knowing(new, FIRST)["conversation_id"] != delivered(FIRST)["conversation_id"]


def test_an_answer_that_names_its_parent_alone_finds_the_root() -> None:
    """`In-Reply-To` without `References`: the parent tells the root."""
    bare = mail(
        "Und?",
        subject="Re: Kein Netz",
        mid="7@x",
        fields="In-Reply-To: Your message of today <a@nordlicht.example>\r\n",
    )
    assert knowing(bare, ANSWERED)["conversation_id"] == delivered(FIRST)["conversation_id"]


@pytest.mark.parametrize(
    ("subject", "base", "answers"),
    [
        ("Re: AW: Fwd: Kein  Netz", "kein netz", True),
        ("[shop] Re[2]: Kein Netz", "kein netz", True),
        ("WG: Kein Netz", "kein netz", False),
        ("Rechnung: fehlt", "rechnung: fehlt", False),
        ("Re:", "", True),
        ("[shop] Kein Netz", "[shop] kein netz", False),
    ],
)
def test_subjects(subject, base, answers) -> None:
    """Prefixes of answers and forwards go, words stay."""
    assert base_subject(subject) == base
    assert is_answer(subject) is answers


# --- headers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Anna <ANNA@Kunde.example>", [("Anna", "anna@kunde.example")]),
        (
            '"Muster, Anna" <a@b.example>, b@c.example',
            [("Muster, Anna", "a@b.example"), ("", "b@c.example")],
        ),
        ("a@b.example (Anna)", [("Anna", "a@b.example")]),
        ("=?utf-8?q?M=C3=BCller?= <m@b.example>", [("Müller", "m@b.example")]),
        ("undisclosed-recipients:;", []),
        ("team: a@b.example, c@d.example;", [("", "a@b.example"), ("", "c@d.example")]),
        ("Mail Delivery System", [("Mail Delivery System", "")]),
        ("info@x.example <a@b.example>", [("info@x.example", "a@b.example")]),
        ("<<a@b.example>>", [("", "a@b.example")]),
        ("", []),
    ],
)
def test_addresses(line, expected) -> None:
    """Names with commas, comments, groups, words, and what is none."""
    assert [tuple(each) for each in addresses(line)] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Mon, 23 Nov 2026 09:00:00 +0100", "2026-11-23T08:00:00+00:00"),
        ("23 Nov 26 09:00", "2026-11-23T09:00:00+00:00"),
        ("2026-11-23 09:00:01", "2026-11-23T09:00:01+00:00"),
        ("Mon, 23 Nov 2026 25:00:00 +0100", None),
        ("Mon, 1 Jan 1899 00:00:00 +0000", None),
        ("Fri, 31 Dec 9999 23:59:59 -2300", None),
        ("Mon, 23 Nov 2026 09:00:00 +999999", None),
        ("gestern", None),
    ],
)
def test_dates(value, expected) -> None:
    """Dates as programs write them; one that cannot be is none."""
    found = date(value)
    assert (None if found is None else found.isoformat()) == expected


def test_the_servers_date_stands_in_for_one_that_cannot_be() -> None:
    """A mail dated in prose came when the server got it."""
    content = mail(sent="gestern")
    told = delivered(content, internal_date="Mon, 23 Nov 2026 09:00:00 +0000")
    assert told["published_at"] == "2026-11-23T09:00:00Z"


def test_words() -> None:
    """Split characters, unknown charsets, what is broken."""
    assert words("=?utf-8?b?4oI=?= =?utf-8?b?rA==?= 5") == "€ 5"
    assert words("=?x-ias-german?q?M=FCller?=") == "Müller"
    assert words("=?utf-8?b?nnDus?=") == "=?utf-8?b?nnDus?="


def test_charsets() -> None:
    """Labels that mean something else, none, or nothing at all."""
    assert codec_of("us-ascii") == "cp1252"
    assert codec_of("GB2312") == "gb18030"
    assert codec_of("punycode") == codec_of("hex") == codec_of("\x00") == codec_of(None) == ""
    assert decoded("Grüße".encode(), "iso-8859-1") == "Grüße"
    assert decoded("Grüße".encode("latin-1"), "utf-8") == "Grüße"
    assert decoded("Grüße".encode("latin-1"), None) == "Grüße"
    assert decoded("„Grüße“".encode("cp1252"), "us-ascii") == "„Grüße“"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Auto-Submitted: auto-replied (vacation)\r\n", ("auto_reply",)),
        ("Auto-Submitted: auto-generated\r\n", ("auto_generated",)),
        ("Auto-Submitted: no\r\n", ()),
        ("X-Autoreply: yes\r\n", ("auto_reply",)),
        ("Precedence: auto_reply\r\n", ("auto_reply",)),
        ("List-Id: <x.example>\r\nPrecedence: list\r\n", ("mailing_list",)),
        ("X-Spam-Flag: YES\r\n", ("spam_flag",)),
        ("X-Spam-Status: No, score=1\r\n", ()),
        ("X-Forefront-Antispam-Report: CIP:1.2.3.4;SCL:9;SRV:\r\n", ("spam_flag",)),
        ("X-Failed-Recipients: a@b.example\r\n", ("bounce",)),
    ],
)
def test_natures(fields, expected) -> None:
    """Each sign alone."""
    assert natures(read_header(mail(fields=fields))[0]) == expected


def test_a_subject_alone_makes_no_automatic_answer() -> None:
    """A customer may write about an absence; a program that answers refers to something."""
    subject = "Abwesenheit: bitte Lieferung verschieben"
    assert natures(read_header(mail(subject=subject))[0]) == ()
    answers = mail(subject=subject, fields="In-Reply-To: <a@nordlicht.example>\r\n")
    assert natures(read_header(answers)[0]) == ("auto_reply",)
    assert natures(read_header(mail())[0], ["\\Seen", "$Junk"]) == ("spam_flag",)


# --- hostile -------------------------------------------------------------------------------------


def nested(levels: int) -> bytes:
    """Return a mail of parts within parts."""
    opened = "".join(
        f"Content-Type: multipart/mixed; boundary=b{at}\r\n\r\n--b{at}\r\n" for at in range(levels)
    )
    return mail("").removesuffix(b"\r\n") + opened.encode() + b"\r\nMein Anschluss"


MANY = 40_000
HOSTILE: dict[str, Callable[[], bytes]] = {
    "nesting without end": lambda: nested(5_000),
    "parts without end": lambda: mail(
        "--b\r\n\r\nx\r\n" * MANY, fields="Content-Type: multipart/mixed; boundary=b\r\n"
    ),
    "one boundary everywhere": lambda: mail(
        "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 5_000,
        fields="Content-Type: multipart/mixed; boundary=b\r\n",
    ),
    "nearly boundaries": lambda: mail(
        "--b" * MANY, fields="Content-Type: multipart/mixed; boundary=b\r\n"
    ),
    "tags without end": lambda: mail("<div>x" * MANY, fields="Content-Type: text/html\r\n"),
    "lists without end": lambda: mail("<ul><li>x" * MANY, fields="Content-Type: text/html\r\n"),
    "links without end": lambda: mail("<a><div>x" * MANY, fields="Content-Type: text/html\r\n"),
    "quotations without end": lambda: mail(
        "<blockquote>a@b 10:00:\n" * MANY, fields="Content-Type: text/html\r\n"
    ),
    "half words": lambda: mail(subject="=?a?q?" * MANY, mid=None)[: 200 << 10] + b"\r\n\r\n",
    "brackets": lambda: mail(author="(" * MANY),
    "quotes": lambda: mail(to='"' * (MANY + 1)),
    "parameters": lambda: mail(fields="Content-Type: text/plain;" + 'a=";";' * MANY + "\r\n"),
    "no base64": lambda: mail("QUJD=" * MANY, fields="Content-Transfer-Encoding: base64\r\n"),
    "surrogates": lambda: mail(
        "+2AA-" * 1000, fields="Content-Type: text/plain; charset=utf-7\r\n"
    ),
    "a slow codec": lambda: mail(
        "a-b" * MANY, fields="Content-Type: text/plain; charset=punycode\r\n"
    ),
    "NUL": lambda: mail("a\x00b"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mails_end_as_an_event_in_bounded_work(name, record_property) -> None:
    """Whatever is nested, repeated or cut: an event, legal text, no exception."""
    told = delivered(HOSTILE[name]())
    text = told.get("text", "")
    assert len(text) <= 100_000
    assert "\x00" not in text
    text.encode()
    record_property("characters", len(text))


def test_what_was_left_out_is_told() -> None:
    """Depth, number and length beyond our bounds mark the event; the original is whole."""
    for content in (nested(100), mail("wort " * 30_000)):
        assert delivered(content)["metrics"]["truncated"] == 1
    assert "metrics" not in delivered(mail("wort " * 1_000))


def test_a_header_without_end_is_refused_politely() -> None:
    """Of a gigabyte the first 256 KiB are looked at; the sentence repeats nothing."""
    content = mail().split(b"\r\n\r\n")[0] + b"\r\nX-Filler: " + b"geheim" * 100_000
    (told,) = map_delivery(NETWORK, content, MAILBOX)
    assert told["fate"] == "dead_lettered"
    assert told["reason"] == "too_large"
    assert told["sentence"] == "the header is longer than 256 KiB"


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    st.binary(max_size=400),
    st.sampled_from(["base64", "quoted-printable", "x-uuencode", "7bit", "x"]),
    st.sampled_from(["text/plain", "text/html", "multipart/mixed; boundary=b", "message/rfc822"]),
    st.sampled_from(["utf-8", "utf-16", "iso-2022-jp", "utf-7", "hz", "cp037", "none", "big5"]),
)
def test_any_bytes_under_any_declaration_are_an_event(content, encoding, kind, charset) -> None:
    """Whatever a header claims of a body, the mail is told."""
    fields = f"Content-Type: {kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n"
    assert delivered(mail(content, fields=fields))["kind"] == "email"


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=200))
def test_any_text_comes_through_whole(text) -> None:
    """What is written without anything to trim is said, control characters apart."""
    printable = "".join(c for c in text if c.isprintable() and c not in "\ue000\ue001\ue002")
    word = f"Wort {printable.strip()} Ende"
    said = delivered(mail(word.encode(), subject="Re: x"))["text"]
    assert said == word


def test_a_group_under_an_own_address_is_no_list() -> None:
    """Support addresses are often groups: what customers write there would get no answer."""
    fields = (
        "List-ID: <service.nordlicht.example>\r\n"
        "List-Post: <https://groups.example/post>, <mailto:service@nordlicht.example>\r\n"
        "List-Unsubscribe: <mailto:x@groups.example>\r\nPrecedence: list\r\n"
    )
    content = mail("Kein Netz.", fields=fields)
    assert "natures" not in delivered(content)
    for others in ("", "info@nordlicht.example"):
        told = delivered(content, own=others)
        assert told["natures"] == ["mailing_list", "bulk"]
