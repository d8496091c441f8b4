"""Giving saved objects to Kibana, over its API of saved objects."""

import base64
import json
import ssl
from collections.abc import Mapping
from hashlib import blake2b
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from klingel.contracts.trust import refuse_unreadable, why_not_trusted
from klingel.errors import ConfigurationError, CredentialsRejected, SourceUnavailable
from klingel.settings import KibanaSettings

_SETTINGS = "KLINGEL_KIBANA__"
_SECONDS = 60.0
_MOST_BYTES = 16 << 20
_REFUSED = 400
_BUSY = 429
_AWAY = 500


class Imported(NamedTuple):
    """What Kibana says of an import.

    Attributes:
        taken: objects that it has.
        errors: a sentence for each that it has not.
    """

    taken: int
    errors: tuple[str, ...]


def import_objects(kibana: KibanaSettings, space: str, objects: bytes) -> Imported:
    """Import saved objects, overwriting those of the same ids.

    Args:
        kibana: where, and who we are.
        space: into which.
        objects: NDJSON.

    Raises:
        ConfigurationError: there is no such space, or its certificate is not trusted.
        CredentialsRejected: Kibana refuses our credential.
        SourceUnavailable: it is away, starting, or answers what it should not.
    """
    body, content_type = multipart(objects)
    headers = {"kbn-xsrf": "klingel", "Content-Type": content_type, **_authorization(kibana)}
    where = urlsplit(kibana.url)
    within = "" if space == "default" else f"/s/{space}"
    path = f"{where.path.rstrip('/')}{within}/api/saved_objects/_import?overwrite=true"
    connection = _connection(kibana, where)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        status, content = answer.status, answer.read(_MOST_BYTES)
    except (OSError, HTTPException) as error:
        why = why_not_trusted(error, _SETTINGS)
        if why is not None:
            raise ConfigurationError(f"Kibana at {kibana.url} is not trusted: {why}") from None
        raise SourceUnavailable(
            f"Kibana at {kibana.url} does not answer ({type(error).__name__}); "
            "start it or set KLINGEL_KIBANA__URL (https:// where it encrypts)"
        ) from None
    finally:
        connection.close()
    return _read(kibana, space, status, content)


def multipart(objects: bytes) -> tuple[bytes, str]:
    """Return the body of a form with one file, and its content type."""
    boundary = f"klingel-{blake2b(objects, digest_size=16).hexdigest()}"
    head = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="file"; filename="klingel.ndjson"\r\n'
        "Content-Type: application/ndjson\r\n\r\n"
    )
    body = head.encode() + objects + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def _connection(kibana: KibanaSettings, where: SplitResult) -> HTTPConnection:
    host = where.hostname or ""
    if where.scheme == "http":
        return HTTPConnection(host, where.port, timeout=_SECONDS)
    refuse_unreadable(kibana.ca_certs, _SETTINGS)
    context = ssl.create_default_context(cafile=kibana.ca_certs)
    return HTTPSConnection(host, where.port, timeout=_SECONDS, context=context)


def _authorization(kibana: KibanaSettings) -> dict[str, str]:
    if kibana.api_key is not None:
        return {"Authorization": f"ApiKey {kibana.api_key.get_secret_value()}"}
    if kibana.username is not None and kibana.password is not None:
        pair = f"{kibana.username}:{kibana.password.get_secret_value()}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}


def _read(kibana: KibanaSettings, space: str, status: int, content: bytes) -> Imported:
    if status in {401, 403}:
        raise CredentialsRejected(
            f"Kibana at {kibana.url} refuses our credential for the space {space}; "
            "see KLINGEL_KIBANA__API_KEY"
        )
    if status == _BUSY or status >= _AWAY:
        raise SourceUnavailable(
            f"Kibana at {kibana.url} answered {status}; try again when it is well"
        )
    if status >= _REFUSED:
        raise ConfigurationError(
            f"Kibana at {kibana.url} answered {status} to an import into the space "
            f"{space}; see KLINGEL_KIBANA__URL and KLINGEL_KIBANA__SPACE"
        )
    try:
        answer = json.loads(content)
        return Imported(
            int(answer["successCount"]), tuple(map(_sentence, answer.get("errors", ())))
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise SourceUnavailable(
            f"what answers at {kibana.url} ({status}) does not speak like Kibana"
        ) from None


def _sentence(error: Mapping[str, Any]) -> str:
    """Return what is wrong with one object; nothing of what Kibana says is longer than a line."""
    title = (error.get("meta") or {}).get("title") or error.get("title") or error.get("id")
    kind = (error.get("error") or {}).get("type", "unknown")
    return f"{error.get('type')} {title}: {kind}"[:300]
