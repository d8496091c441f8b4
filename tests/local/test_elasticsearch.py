"""Elasticsearch's configuration differs by version, security and Java."""

import base64
import hashlib
from pathlib import Path

import pytest

from klingel_local import pins
from klingel_local.elasticsearch import (
    ElasticsearchConfig,
    java_options,
    launcher_arguments,
    password_line,
    server_yaml,
)


def config(password=None, tls=None):
    return ElasticsearchConfig(
        build=pins.ELASTICSEARCH_9,
        folder=Path('/data/a "b"'),
        port=20_003,
        transport_port=20_004,
        heap="1g",
        password=password,
        account=None,
        tls=tls,
    )


def test_one_node_listens_on_this_machine_only_with_its_paths_quoted():
    lines = server_yaml(config()).splitlines()
    assert "network.host: 127.0.0.1" in lines
    assert "http.port: 20003" in lines
    assert "discovery.type: single-node" in lines
    assert r'path.data: "/data/a \"b\"/data"' in lines


def test_security_is_off_without_a_password_and_on_with_one():
    assert "xpack.security.enabled: false" in server_yaml(config())
    text = server_yaml(config("s3cret"))
    assert "xpack.security.enabled: true" in text
    assert "xpack.security.authc.realms.file.local.order: 0" in text
    assert "s3cret" not in text
    assert "s3cret" not in repr(config("s3cret"))


def test_its_port_is_encrypted_where_an_authority_vouches_for_it():
    assert "xpack.security.http.ssl.enabled: false" in server_yaml(config("s3cret"))
    lines = server_yaml(config("s3cret", Path("/tls"))).splitlines()
    assert "xpack.security.http.ssl.enabled: true" in lines
    assert "xpack.security.http.ssl.certificate: http.pem" in lines
    assert "xpack.security.http.ssl.key: http.key" in lines


def test_the_password_is_stored_as_a_salted_hash():
    salt = bytes(range(32))
    user, _, stored = password_line("ring", "s3cret", salt).strip().partition(":")
    scheme, salted, digest = stored.split("$")
    assert (user, scheme) == ("ring", "{PBKDF2}10000")
    assert base64.b64decode(salted) == salt
    expected = hashlib.pbkdf2_hmac("sha512", b"s3cret", salt, 10_000, dklen=32)
    assert base64.b64decode(digest) == expected


def test_collector_logs_and_heap_dumps_are_left_out():
    shipped = (
        "# -Xlog:gc is explained here\n-XX:+UseG1GC\n-XX:+HeapDumpOnOutOfMemoryError\n"
        "17-:-Xlog:gc*:file=gc.log\n20:--add-modules=jdk.incubator.vector\n"
    )
    with_vector = java_options(shipped, frozenset({"jdk.incubator.vector"}))
    assert with_vector.split() == [
        *["#", "-Xlog:gc", "is", "explained", "here"],
        "-XX:+UseG1GC",
        "20:--add-modules=jdk.incubator.vector",
    ]
    assert "incubator" not in java_options(shipped, frozenset())


@pytest.mark.parametrize(
    ("build", "main"),
    [
        (pins.ELASTICSEARCH_9, "org.elasticsearch.server.launcher.ServerLauncher"),
        (pins.ELASTICSEARCH_8, "org.elasticsearch.launcher.CliToolLauncher"),
    ],
)
def test_each_version_has_its_launcher(build, main):
    arguments = launcher_arguments(build, Path("/es"), Path("/conf"))
    assert arguments[-1] == main
    assert arguments[-3] == "-cp"
