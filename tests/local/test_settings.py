"""Settings are read once, and a wrong one gets one sentence."""

from pathlib import Path

import pytest

from klingel_local.errors import SettingError
from klingel_local.settings import Settings, heap_bytes, read_settings


def test_nothing_set_gives_the_defaults():
    assert read_settings({}) == Settings()


def test_empty_values_count_as_absent():
    names = ("KLINGEL_LOCAL_ES", "KLINGEL_LOCAL_ES_SECURITY", "KLINGEL_CACHE_DIR")
    assert read_settings(dict.fromkeys(names, "")) == Settings()


def test_every_setting_is_read():
    settings = read_settings(
        {
            "KLINGEL_MAVEN_REPOSITORY": "https://mirror.invalid/maven/",
            "KLINGEL_CACHE_DIR": "/somewhere/cache",
            "KLINGEL_LOCAL_ES": "8",
            "KLINGEL_LOCAL_ES_SECURITY": "on",
            "KLINGEL_LOCAL_ES_HEAP": "512m",
            "KLINGEL_LOCAL_KAFKA_HEAP": "1g",
            "KLINGEL_LOCAL_KAFKA_SECURITY": "on",
            "KLINGEL_LOCAL_JAVA_HOME": "/somewhere/jdk",
            "KLINGEL_CASE_LIMIT": "belongs to another part of klingel",
        }
    )
    assert settings == Settings(
        repository="https://mirror.invalid/maven",
        cache=Path("/somewhere/cache"),
        es_version="8",
        es_security=True,
        es_heap="512m",
        kafka_heap="1g",
        kafka_security=True,
        java_home=Path("/somewhere/jdk"),
    )


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("KLINGEL_LOCAL_ES", "7", "KLINGEL_LOCAL_ES must be one of 8, 9."),
        (
            "KLINGEL_LOCAL_ES_SECURITY",
            "yes",
            "KLINGEL_LOCAL_ES_SECURITY must be one of on, off.",
        ),
        (
            "KLINGEL_LOCAL_ES_HEAP",
            "1GB",
            "KLINGEL_LOCAL_ES_HEAP must be a size such as 512m or 1g.",
        ),
        (
            "KLINGEL_LOCAL_KAFKA_HEAP",
            "0m",
            "KLINGEL_LOCAL_KAFKA_HEAP must be a size such as 512m or 1g.",
        ),
        (
            "KLINGEL_MAVEN_REPOSITORY",
            "file:///etc",
            "KLINGEL_MAVEN_REPOSITORY must be an http or https address.",
        ),
        (
            "KLINGEL_LOCAL_ES_SECURTY",
            "on",
            "Unknown setting KLINGEL_LOCAL_ES_SECURTY: did you mean KLINGEL_LOCAL_ES_SECURITY?",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(name, value, sentence):
    with pytest.raises(SettingError) as caught:
        read_settings({name: value})
    assert str(caught.value) == sentence


def test_the_repository_is_not_shown_because_an_address_may_hold_a_secret():
    settings = read_settings({"KLINGEL_MAVEN_REPOSITORY": "https://user:secret@mirror.invalid"})
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(("heap", "count"), [("512m", 512 << 20), ("2g", 2 << 30)])
def test_heap_notation(heap, count):
    assert heap_bytes(heap) == count
