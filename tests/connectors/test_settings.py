"""The gateway's settings: nothing starts without a secret, and each sentence names the setting."""

import base64

import pytest

from klingel.errors import ConfigurationError
from klingel_connectors.settings import gateway_settings, secret_name

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
SHOP = {"KLINGEL_WEBHOOK_SOURCES": "shop", "KLINGEL_WEBHOOK_SECRET_SHOP": SECRET}
FORM = {
    "KLINGEL_FORM_SOURCES": "contact",
    "KLINGEL_FORM_ORIGINS": "https://www.example",
    "KLINGEL_FORM_KEY": "0123456789abcdef",
}


def test_sources_with_their_secrets_while_one_is_rotated():
    other = "whsec_" + base64.b64encode(bytes(32)).decode()
    settings = gateway_settings(SHOP | {"KLINGEL_WEBHOOK_SECRET_SHOP": f"{SECRET} {other}"})
    assert settings.webhooks == {"shop": (KEY, bytes(32))}
    assert settings.limit_bytes == 1 << 20


def test_a_secret_from_a_file(tmp_path):
    (tmp_path / "secret").write_text(SECRET + "\n")
    environ = {
        "KLINGEL_WEBHOOK_SOURCES": "my-shop.de",
        "KLINGEL_WEBHOOK_SECRET_MY_SHOP_DE_FILE": str(tmp_path / "secret"),
    }
    assert gateway_settings(environ).webhooks == {"my-shop.de": (KEY,)}
    assert secret_name("my-shop.de") == "KLINGEL_WEBHOOK_SECRET_MY_SHOP_DE"


def test_a_form_with_origins_and_key():
    settings = gateway_settings(FORM | {"KLINGEL_FORM_RATE": "2"})
    assert (settings.forms, settings.origins) == (("contact",), ("https://www.example",))
    assert (settings.form_key, settings.form_rate) == (b"0123456789abcdef", 2.0)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "KLINGEL_WEBHOOK_SOURCES: the gateway has nobody to listen to"),
        ({"KLINGEL_WEBHOOK_SOURCES": "shop"}, "KLINGEL_WEBHOOK_SECRET_SHOP: source shop has no"),
        (
            SHOP | {"KLINGEL_WEBHOOK_SECRET_SHOP": "hunter2"},
            "KLINGEL_WEBHOOK_SECRET_SHOP: a secret",
        ),
        (SHOP | {"KLINGEL_WEBHOOK_SECRET_SHOP": "whsec_AAAA"}, "base64 of 16 to 64 bytes"),
        (SHOP | {"KLINGEL_WEBHOOK_SECRET_SHIP": SECRET}, "KLINGEL_WEBHOOK_SECRET_SHIP: unknown"),
        (SHOP | {"KLINGEL_WEBHOOK_SECRET_SHOP_FILE": "/nowhere"}, "the file cannot be read"),
        (SHOP | {"KLINGEL_WEBHOOK_LIMIT_BYTES": "many"}, "LIMIT_BYTES: must be a number from"),
        ({"KLINGEL_WEBHOOK_SOURCES": "a b"}, "a source is letters, digits"),
        ({"KLINGEL_WEBHOOK_SOURCES": "a-b,a.b"}, "two sources share the name of their secret"),
        (FORM | {"KLINGEL_FORM_ORIGINS": ""}, "KLINGEL_FORM_ORIGINS: a form needs"),
        (FORM | {"KLINGEL_FORM_ORIGINS": "www.example"}, "an origin is a scheme and a host"),
        (FORM | {"KLINGEL_FORM_KEY": "short"}, "KLINGEL_FORM_KEY: a form needs a key"),
    ],
)
def test_a_wrong_setting_is_one_sentence_without_its_value(environ, says):
    with pytest.raises(ConfigurationError) as refused:
        gateway_settings(environ)
    assert says in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert SECRET[6:] not in str(refused.value)
