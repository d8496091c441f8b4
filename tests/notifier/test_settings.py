"""Addresses and secrets come from settings alone, and show nowhere."""

import ssl

import pytest

from klingel.config.escalations import Target
from klingel.errors import ConfigurationError
from klingel.settings import NotifierSettings, load_settings
from klingel.testing.clock import FixedClock
from klingel_notifier.addresses import PREFIX, Addresses, variable
from klingel_notifier.factory import Senders
from klingel_notifier.mail import SmtpSender
from klingel_notifier.senders import HttpSender
from klingel_notifier.targets import Targets, Unset
from klingel_notifier.worker import http_session

CANARY = "canary-7f3e"


def test_an_address_is_found_under_the_name_of_the_brand_file():
    addresses = Addresses({f"{PREFIX}SHIFT_CHAT_URL": f" https://{CANARY}/ ", "OTHER": "x"})
    assert addresses.find("shift_chat_url") == f"https://{CANARY}/"
    assert addresses.find("other") is None
    assert variable("shift_chat_url") == f"{PREFIX}SHIFT_CHAT_URL"


def test_an_empty_setting_is_not_set():
    assert Addresses({f"{PREFIX}CHAT": "  "}).find("chat") is None


def test_a_secret_may_come_from_a_file(tmp_path):
    (tmp_path / "secret").write_text(f"{CANARY}\n", encoding="utf-8")
    addresses = Addresses({f"{PREFIX}SECRET_FILE": str(tmp_path / "secret")})
    assert addresses.find("secret") == CANARY
    assert CANARY not in repr(addresses)


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({f"{PREFIX}A_FILE": "/nowhere/canary"}, f"{PREFIX}A_FILE: the file cannot be read"),
        ({f"{PREFIX}A": CANARY, f"{PREFIX}A_FILE": "/dev/null"},
         f"{PREFIX}A: given twice, also by {PREFIX}A_FILE"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_by_its_name_alone(environ, sentence):
    with pytest.raises(ConfigurationError) as told:
        Addresses(environ)
    assert str(told.value) == sentence


def test_a_file_of_bytes_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="the file is not UTF-8 text"):
        Addresses({f"{PREFIX}A_FILE": str(tmp_path / "secret")})


def test_every_service_leaves_the_names_of_targets_to_the_notifier():
    environ = {f"{PREFIX}ANYTHING": "x", "KLINGEL_NOTIFIER__SMTP_HOST": "mail.example.org"}
    assert load_settings(environ).notifier.smtp_host == "mail.example.org"
    with pytest.raises(ConfigurationError, match="unknown setting"):
        load_settings({"KLINGEL_NOTIFIER__SMTP_HOSTS": "x"})


def test_the_password_of_mail_may_come_from_a_file(tmp_path):
    (tmp_path / "password").write_text(f"{CANARY}\n", encoding="utf-8")
    name = "KLINGEL_NOTIFIER__SMTP_PASSWORD_FILE"
    settings = load_settings({name: str(tmp_path / "password")})
    assert settings.notifier.smtp_password.get_secret_value() == CANARY
    assert CANARY not in repr(settings)


async def test_certificates_that_cannot_be_read_end_it_at_the_start(tmp_path):
    with pytest.raises(ConfigurationError, match="CA_CERTS: the file cannot be read"):
        http_session(NotifierSettings(ca_certs=tmp_path / "nothing"))


@pytest.fixture
def build_sender(session):
    """Build the sender of a target, given settings by name."""

    def make(values=None, target=None, **settings):
        environ = {variable(name): value for name, value in (values or {}).items()}
        senders = Senders(Addresses(environ), NotifierSettings(**settings), session, FixedClock())
        return senders.build(Target(**({"id": "t"} | target)))

    return make


CHAT = {"kind": "slack", "url_setting": "url"}
HOOK = {"kind": "webhook", "url_setting": "url", "secret_setting": "secret"}
MAIL = {"kind": "email", "to": ("kim@example.org",)}
GOOD = {"url": "https://example.org/", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}


@pytest.mark.parametrize("target", [CHAT, HOOK, {"kind": "alertmanager", "url_setting": "url"}])
async def test_what_speaks_http(build_sender, target):
    assert isinstance(build_sender(GOOD, target), HttpSender)


async def test_what_speaks_smtp(build_sender):
    made = build_sender({}, MAIL, smtp_host="mail.example.org", smtp_password=CANARY)
    assert isinstance(made, SmtpSender)
    assert made._server.password == CANARY


@pytest.mark.parametrize(
    ("values", "target", "sentence"),
    [
        ({}, CHAT, f"{PREFIX}URL is not set"),
        ({"url": CANARY}, CHAT, f"{PREFIX}URL is no address: write an address"),
        ({}, {"kind": "slack"}, "the brand file names no setting of its address"),
        ({"url": GOOD["url"]}, HOOK, f"{PREFIX}SECRET is not set"),
        ({**GOOD, "secret": CANARY}, HOOK, f"{PREFIX}SECRET is no secret: write whsec_"),
        (GOOD, {"kind": "webhook", "url_setting": "url"},
         "the brand file names no setting of its secret"),
        ({}, MAIL, "KLINGEL_NOTIFIER__SMTP_HOST is not set"),
    ],
)  # fmt: skip
async def test_what_is_missing_is_told_and_never_repeated(build_sender, values, target, sentence):
    with pytest.raises(Unset) as told:
        build_sender(values, target)
    assert str(told.value).startswith(sentence)
    assert CANARY not in str(told.value)


async def test_mail_without_recipients_is_missing_something(build_sender):
    with pytest.raises(Unset, match="names no recipient"):
        build_sender({}, {"kind": "email"}, smtp_host="mail.example.org")


def test_the_certificate_of_a_mail_server_is_checked_by_default():
    assert NotifierSettings().smtp_security == "starttls"
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


# ---------------------------------------------------------------------- brands


def nothing(_target):
    raise Unset("nothing is set here")


@pytest.fixture
def targets():
    from datetime import timedelta  # noqa: PLC0415 - only here

    return Targets(nothing, timedelta(hours=1))


def test_targets_follow_the_brand_file(targets, build):
    targets.take(build.config(build.chat(), build.chat(id="second")))
    assert targets.missing() == [
        "nordlicht/second: nothing is set here", "nordlicht/shift-chat: nothing is set here",
    ]  # fmt: skip
    targets.take(build.config(build.chat(digest_from=9, digest_window="2m")))
    found = targets.find("nordlicht", "shift-chat")
    assert (found.policy.digest_from, found.policy.window.total_seconds()) == (9, 120)
    assert targets.find("nordlicht", "second").missing == "no such target in the brand file"
    assert targets.find("another", "shift-chat").missing == "no such target in the brand file"


def test_a_brand_that_is_removed_takes_its_targets_along(targets, build):
    targets.take(build.config(build.chat()))
    message = build.config()
    before = targets.version
    targets.take(type(message)(message.topic, 0, 1, message.key, None))
    assert targets.missing() == []
    assert targets.version > before


@pytest.mark.parametrize("value", [b"{", b'{"brand": "nordlicht"}', None])
def test_a_brand_file_that_cannot_be_read_leaves_what_was_in_force(targets, build, value):
    targets.take(build.config(build.chat()))
    if value is None:  # a calendar without a meaning, which the loader would refuse
        shut = {"id": "desk", "zone": "Mars/Olympus", "hours": {"mon": ["08:00-09:00"]}}
        targets.take(build.config(build.chat(), calendars=[shut]))
    else:
        message = build.config()
        targets.take(type(message)(message.topic, 0, 1, message.key, value))
    assert targets.missing() == ["nordlicht/shift-chat: nothing is set here"]


def test_people_and_machines(targets, build):
    targets.take(build.config(build.chat(), build.hook()))
    assert targets.find("nordlicht", "shift-chat").policy.people
    assert not targets.find("nordlicht", "hook").policy.people
