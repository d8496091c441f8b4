"""Settings from the environment: closed names, secrets from files, sentences without values."""

import pytest

from klingel.errors import ConfigurationError
from klingel.settings import Settings, load_settings, names

SECRET = "hunter2-canary"


def test_an_empty_environment_gives_the_defaults() -> None:
    """Everything has one."""
    assert load_settings({}) == Settings()


def test_names_are_nested_by_two_underscores() -> None:
    """Values are converted; variables of others are none of our business."""
    settings = load_settings(
        {
            "KLINGEL_KAFKA__BOOTSTRAP": "kafka:9092",
            "KLINGEL_KAFKA__PARTITIONS": "12",
            "PATH": "/bin",
            "KLINGELTON": "x",
        }
    )
    assert settings.kafka.bootstrap == "kafka:9092"
    assert settings.kafka.partitions == 12


def test_every_name_can_be_set() -> None:
    """The list of names that the documentation shows is the one that is read."""
    for name, description in names().items():
        assert description
        with pytest.raises(ConfigurationError, match=r"unknown setting"):
            load_settings({name + "X": "1"})
        assert "unknown" not in refusal_of({name: "1"})


def refusal_of(environ: dict[str, str]) -> str:
    """Return why an environment is refused, or nothing."""
    try:
        load_settings(environ)
    except ConfigurationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("KLINGEL_KAFKA__BOOTSRAP", "KLINGEL_KAFKA__BOOTSTRAP"),
        ("KLINGEL_KAFKA_BOOTSTRAP", "KLINGEL_KAFKA__BOOTSTRAP"),
        ("KLINGEL_ELASTICSEARCH__ADDRESS", "KLINGEL_ELASTICSEARCH__"),
        ("KLINGEL_KAFKA", "KLINGEL_"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(wrong: str, right: str) -> None:
    """A typing error must not silently be the default."""
    with pytest.raises(ConfigurationError, match=f"{wrong}: unknown setting; did you mean {right}"):
        load_settings({wrong: SECRET})


@pytest.mark.parametrize("name", ["KLINGEL_ZZZ", "KLINGEL_NONSENSE", "KLINGEL_FOO_BAR"])
def test_an_unknown_name_that_resembles_nothing_suggests_nothing(name: str) -> None:
    """A wrong suggestion is worse than none."""
    with pytest.raises(ConfigurationError, match=f"^{name}: unknown setting$"):
        load_settings({name: "1"})


def test_names_of_others_are_left_to_them() -> None:
    """A connector's own settings, and those of the local stack."""
    environ = {
        "KLINGEL_WEBHOOK__SECRET": "x",
        "KLINGEL_LOCAL_ES": "9",
        "KLINGEL_CACHE_DIR": "/tmp",
        "KLINGEL_DEMO": "1",
    }
    assert load_settings(environ, also=["KLINGEL_WEBHOOK__*", "KLINGEL_DEMO"]) == Settings()
    with pytest.raises(ConfigurationError):
        load_settings(environ, also=["KLINGEL_WEBHOOK__*"])


def test_secrets_may_come_from_a_file(tmp_path) -> None:
    """As orchestrators mount them; the line's end is no part of it."""
    file = tmp_path / "password"
    file.write_text(SECRET + "\n", encoding="utf-8")
    others = {name: value for name, value in SASL.items() if "PASSWORD" not in name}
    settings = load_settings(others | {"KLINGEL_KAFKA__SASL_PASSWORD_FILE": str(file)})
    assert settings.kafka.sasl_password is not None
    assert settings.kafka.sasl_password.get_secret_value() == SECRET
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_an_unreadable_secret_file_is_named(tmp_path, content: bytes | None) -> None:
    """Missing, or no text: the setting is named, exit is clean."""
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="KLINGEL_KAFKA__SASL_PASSWORD_FILE: the file"):
        load_settings({"KLINGEL_KAFKA__SASL_PASSWORD_FILE": str(file)})


def test_a_secret_given_twice_is_an_error(tmp_path) -> None:
    """Nobody could say which one counts."""
    file = tmp_path / "key"
    file.write_text("one", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="KLINGEL_ELASTICSEARCH__API_KEY: given twice"):
        load_settings(
            {
                "KLINGEL_ELASTICSEARCH__API_KEY_FILE": str(file),
                "KLINGEL_ELASTICSEARCH__API_KEY": "two",
            }
        )


def test_only_secrets_come_from_files() -> None:
    """What is no secret stands in the environment, where one can see it."""
    with pytest.raises(ConfigurationError, match="unknown setting"):
        load_settings({"KLINGEL_KAFKA__BOOTSTRAP_FILE": "/etc/hostname"})


@pytest.mark.parametrize(
    "name",
    [
        "KLINGEL_KAFKA__PARTITIONS",
        "KLINGEL_KAFKA__SECURITY_PROTOCOL",
        "KLINGEL_KAFKA__TOPIC_PREFIX",
        "KLINGEL_HTTP__PORT",
        "KLINGEL_LOGS__LEVEL",
        "KLINGEL_PROCESSOR__BATCH_WAIT_SECONDS",
    ],
)
def test_a_wrong_value_is_told_without_the_value(name: str) -> None:
    """The name and what would be right; what stands there may be a secret in the wrong place."""
    with pytest.raises(ConfigurationError, match=f"^{name}: ") as caught:
        load_settings({name: SECRET.upper()})
    assert SECRET.upper() not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


SASL = {
    "KLINGEL_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
    "KLINGEL_KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
    "KLINGEL_KAFKA__SASL_USERNAME": "understand",
    "KLINGEL_KAFKA__SASL_PASSWORD": SECRET,
}
MUTUAL = {
    "KLINGEL_KAFKA__SECURITY_PROTOCOL": "SSL",
    "KLINGEL_KAFKA__SSL_CERTFILE": "own.pem",
    "KLINGEL_KAFKA__SSL_KEYFILE": "own.key",
    "KLINGEL_KAFKA__SSL_KEY_PASSWORD": SECRET,
}
BASIC = {"KLINGEL_ELASTICSEARCH__USERNAME": "u", "KLINGEL_ELASTICSEARCH__PASSWORD": SECRET}


@pytest.mark.parametrize("whole", [SASL, MUTUAL, BASIC])
def test_a_whole_credential_is_taken(whole: dict[str, str]) -> None:
    """By name and password, by certificate, at Elasticsearch."""
    assert SECRET not in repr(load_settings(whole))


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        *(
            ({name: value for name, value in SASL.items() if name != left}, f"{left} is not set: ")
            for left in [*SASL][1:]
        ),
        (SASL | {"KLINGEL_KAFKA__SECURITY_PROTOCOL": "SSL"}, "SASL_MECHANISM is set, but"),
        (SASL | {"KLINGEL_KAFKA__SECURITY_PROTOCOL": "PLAINTEXT"}, "SASL_MECHANISM is set, but"),
        ({"KLINGEL_KAFKA__SASL_PASSWORD": SECRET}, "SASL_PASSWORD is set, but"),
        (MUTUAL | {"KLINGEL_KAFKA__SECURITY_PROTOCOL": "PLAINTEXT"}, "SSL_CERTFILE is set, but"),
        ({"KLINGEL_KAFKA__SSL_CAFILE": "ca.pem"}, "SSL_CAFILE is set, but"),
        (
            {name: value for name, value in MUTUAL.items() if "KEYFILE" not in name},
            "SSL_KEYFILE is not set: ",
        ),
        (
            {name: value for name, value in MUTUAL.items() if "CERTFILE" not in name},
            "SSL_KEYFILE is set, but",
        ),
        ({"KLINGEL_ELASTICSEARCH__PASSWORD": SECRET}, "are set together or not at all"),
        ({"KLINGEL_ELASTICSEARCH__USERNAME": "u"}, "are set together or not at all"),
        (BASIC | {"KLINGEL_ELASTICSEARCH__API_KEY": SECRET}, "choose one"),
        ({"KLINGEL_ELASTICSEARCH__CA_CERTS": "ca.pem"}, "does not begin with https:"),
        *(
            ({f"KLINGEL_{server}__URL": url}, "URL: give http:// or https://, a host and a port")
            for server in ("ELASTICSEARCH", "KIBANA")
            for url in (
                "es:9200",
                "ftp://es:9200",
                "http://",
                "http://es:99999",
                f"http://me:{SECRET}@es:9200",
                f"http://{SECRET}@[::",
            )
        ),
        ({"KLINGEL_ELASTICSEARCH__URL": "http://es"}, "a host and a port"),
        ({"KLINGEL_ERASURE__KEY": SECRET[:3]}, "KLINGEL_ERASURE__KEY: give at least 16 characters"),
    ],
)
def test_what_would_be_ignored_or_cannot_work_is_one_sentence(
    environ: dict[str, str], sentence: str
) -> None:
    """It names the settings, and no value of a secret."""
    refusal = refusal_of(environ)
    assert sentence in refusal
    assert refusal.startswith("KLINGEL_")
    assert SECRET not in refusal
    assert "\n" not in refusal
