"""An Elasticsearch for tests: the real wire format over HTTP, documents in memory, faults on order.

It knows what klingel uses: templates, indices made by their first write, `_bulk` with external
versions, `_doc`, `_count`, `_refresh`, settings and mappings of an index. The suites that run
against it run against the real one too (marker `servers`). It searches nothing.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from aiohttp import web

VERSION = "8.16.6"
_ID_BYTES = 512


class After(StrEnum):
    """What happens to a bulk request after its documents were applied."""

    ANSWER = "answer"
    DISCONNECT = "disconnect"
    DROP_AN_ITEM = "drop_an_item"


@dataclass(frozen=True, slots=True)
class RequestFault:
    """What one bulk request meets instead of an answer.

    Attributes:
        status, error_type: answered without applying anything; status 0 applies.
        after: what happens once the documents are applied.
    """

    status: int = 0
    error_type: str = ""
    after: After = After.ANSWER


@dataclass(slots=True)
class ItemFault:
    """What an item of this id meets the next `times` times instead of being applied."""

    id: str
    status: int
    error_type: str
    times: int = 1


@dataclass(slots=True)
class _Stored:
    source: dict[str, Any]
    version: int


@dataclass(slots=True)
class _Index:
    properties: dict[str, Any] = field(default_factory=dict)
    strict: bool = False
    blocked: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    documents: dict[str, _Stored] = field(default_factory=dict)


class _Refused(Exception):
    """An item or a request that is answered with an error."""

    def __init__(self, status: int, error_type: str) -> None:
        super().__init__(error_type)
        self.status = status
        self.error_type = error_type


class FakeElasticsearch:
    """The server; `url` is valid between `start` and `stop`, and the same after a restart.

    Args:
        max_content_bytes: a larger bulk body gets 413.

    Attributes:
        request_faults: taken from the left, one a bulk request.
        item_faults: looked up by id.
        bulk_requests: item ids of every bulk request that reached the parser.
        auto_create: whether a first write makes an index.
    """

    def __init__(self, max_content_bytes: int = 100 << 20) -> None:
        self._max_content_bytes = max_content_bytes
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._templates: dict[str, dict[str, Any]] = {"component": {}, "index": {}}
        self.indices: dict[str, _Index] = {}
        self.request_faults: deque[RequestFault] = deque()
        self.item_faults: list[ItemFault] = []
        self.bulk_requests: list[list[str]] = []
        self.auto_create = True

    @property
    def url(self) -> str:
        """Address of the HTTP interface."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def stopped(self) -> bool:
        """Whether nobody listens."""
        return self._runner is None

    async def start(self) -> None:
        """Listen; on the same port again after `stop`."""
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/", self._root)
        app.router.add_get("/_cluster/health", self._health)
        app.router.add_post("/_bulk", self._bulk)
        app.router.add_put("/_bulk", self._bulk)
        for kind in ("component", "index"):
            app.router.add_put(f"/_{kind}_template/{{name}}", self._put_template)
            app.router.add_get(f"/_{kind}_template/{{name}}", self._get_template)
            app.router.add_delete(f"/_{kind}_template/{{name}}", self._delete_template)
        app.router.add_get("/{index}", self._get_index)
        app.router.add_delete("/{index}", self._delete_index)
        app.router.add_get("/{index}/_doc/{id}", self._get_document)
        app.router.add_route("*", "/{index}/_count", self._count)
        app.router.add_post("/{index}/_refresh", self._refresh)
        app.router.add_put("/{index}/_settings", self._put_settings)
        app.router.add_put("/{index}/_mapping", self._put_mapping)
        app.on_response_prepare.append(_sign)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening; documents and templates stay."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def document(self, index: str, id_: str) -> dict[str, Any] | None:
        """Return a document's source."""
        stored = self.indices[index].documents.get(id_) if index in self.indices else None
        return None if stored is None else stored.source

    async def _root(self, _request: web.Request) -> web.Response:
        return _answer({"version": {"number": VERSION}, "tagline": "You Know, for Search"})

    async def _health(self, _request: web.Request) -> web.Response:
        return _answer({"status": "green"})

    async def _put_template(self, request: web.Request) -> web.Response:
        kind, name = _template(request)
        self._templates[kind][name] = await request.json()
        return _answer({"acknowledged": True})

    async def _get_template(self, request: web.Request) -> web.Response:
        kind, name = _template(request)
        found = self._templates[kind].get(name)
        if found is None:
            return _error(_Refused(404, "resource_not_found_exception"))
        inner = {"name": name, f"{kind}_template": found}
        return _answer({f"{kind}_templates": [inner]})

    async def _delete_template(self, request: web.Request) -> web.Response:
        kind, name = _template(request)
        if self._templates[kind].pop(name, None) is None:
            return _error(_Refused(404, "resource_not_found_exception"))
        return _answer({"acknowledged": True})

    async def _get_index(self, request: web.Request) -> web.Response:
        pattern = request.match_info["index"]
        found: dict[str, Any] = {name: {} for name in self.indices if _matches(name, pattern)}
        lenient = "*" in pattern or request.query.get("ignore_unavailable") == "true"
        if not found and not lenient:
            return _error(_Refused(404, "index_not_found_exception"))
        return _answer(found)

    async def _delete_index(self, request: web.Request) -> web.Response:
        if self.indices.pop(request.match_info["index"], None) is None:
            return _error(_Refused(404, "index_not_found_exception"))
        return _answer({"acknowledged": True})

    async def _get_document(self, request: web.Request) -> web.Response:
        index, id_ = request.match_info["index"], request.match_info["id"]
        if index not in self.indices:
            return _error(_Refused(404, "index_not_found_exception"))
        stored = self.indices[index].documents.get(id_)
        if stored is None:
            return _answer({"_index": index, "_id": id_, "found": False}, 404)
        return _answer(
            {
                "_index": index,
                "_id": id_,
                "_version": stored.version,
                "found": True,
                "_source": stored.source,
            }
        )

    async def _count(self, request: web.Request) -> web.Response:
        pattern = request.match_info["index"]
        count = sum(
            len(index.documents) for name, index in self.indices.items() if _matches(name, pattern)
        )
        return _answer({"count": count})

    async def _refresh(self, _request: web.Request) -> web.Response:
        return _answer({"_shards": {"failed": 0}})

    async def _put_settings(self, request: web.Request) -> web.Response:
        settings = _flat(await request.json())
        for index in self._named(request):
            index.settings.update(settings)
            blocked = index.settings.get("index.blocks.write", "false")
            index.blocked = str(blocked).lower() == "true"
        return _answer({"acknowledged": True})

    async def _put_mapping(self, request: web.Request) -> web.Response:
        properties = (await request.json()).get("properties", {})
        for index in self._named(request):
            for name, mapping in properties.items():
                held = index.properties.get(name, mapping)
                if held.get("type") != mapping.get("type"):
                    return _error(_Refused(400, "illegal_argument_exception"))
            index.properties.update(properties)
        return _answer({"acknowledged": True})

    def _named(self, request: web.Request) -> list[_Index]:
        pattern = request.match_info["index"]
        return [index for name, index in self.indices.items() if _matches(name, pattern)]

    async def _bulk(self, request: web.Request) -> web.Response:
        body = await request.read()
        if len(body) > self._max_content_bytes:
            return web.Response(status=413)
        fault = self.request_faults.popleft() if self.request_faults else RequestFault()
        if fault.status:
            return _error(_Refused(fault.status, fault.error_type))
        try:
            actions = _parse(body)
        except _Refused as refused:
            return _error(refused)
        self.bulk_requests.append([meta.get("_id", "") for _, meta, _ in actions])
        items = [self._item(op, meta, document) for op, meta, document in actions]
        if fault.after is After.DISCONNECT:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if fault.after is After.DROP_AN_ITEM:
            items.pop()
        errors = any("error" in result for item in items for result in item.values())
        reply: Any = {"took": 1, "errors": errors, "items": items}
        if "filter_path" in request.query:
            paths = [path.split(".") for path in request.query["filter_path"].split(",")]
            reply = _filtered(reply, paths)
        return _answer(reply)

    def _item(self, op: str, meta: dict[str, Any], document: bytes) -> dict[str, Any]:
        name, id_ = meta["_index"], meta["_id"]
        result: dict[str, Any] = {"_index": name, "_id": id_}
        try:
            self._meet_fault(id_)
            index = self._index(name)
            if op == "delete":
                return {op: result | _removed(meta, index.documents)}
            source = _source(document)
            _check(source, index.properties, strict=index.strict)
            version, created = _next_version(op, meta, index.documents.get(id_))
            index.documents[id_] = _Stored(source, version)
            result |= {"_version": version, "status": 201 if created else 200}
        except _Refused as refused:
            result |= {
                "status": refused.status,
                "error": {"type": refused.error_type, "reason": "[fake]"},
            }
        return {op: result}

    def _meet_fault(self, id_: str) -> None:
        for fault in self.item_faults:
            if fault.id == id_ and fault.times > 0:
                fault.times -= 1
                raise _Refused(fault.status, fault.error_type)

    def _index(self, name: str) -> _Index:
        if name not in self.indices:
            if not self.auto_create:
                raise _Refused(404, "index_not_found_exception")
            self.indices[name] = self._from_templates(name)
        if self.indices[name].blocked:
            raise _Refused(403, "cluster_block_exception")
        return self.indices[name]

    def _from_templates(self, name: str) -> _Index:
        index = _Index()
        for template in self._templates["index"].values():
            if any(fnmatchcase(name, pattern) for pattern in template["index_patterns"]):
                for component in template.get("composed_of", []):
                    inner = self._templates["component"][component].get("template", {})
                    mappings = inner.get("mappings", {})
                    index.properties.update(mappings.get("properties", {}))
                    index.strict = index.strict or mappings.get("dynamic") == "strict"
                    index.settings.update(_flat(inner.get("settings", {})))
        return index


async def _sign(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["X-Elastic-Product"] = "Elasticsearch"


def _answer(body: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=json.dumps(body).encode(),
        status=status,
        headers={"content-type": "application/vnd.elasticsearch+json;compatible-with=8"},
    )


def _error(refused: _Refused) -> web.Response:
    error = {"type": refused.error_type, "reason": "[fake]"}
    return _answer(
        {"error": {"root_cause": [error], **error}, "status": refused.status}, refused.status
    )


def _template(request: web.Request) -> tuple[str, str]:
    kind = request.path.split("/")[1].removeprefix("_").removesuffix("_template")
    return kind, request.match_info["name"]


def _matches(name: str, pattern: str) -> bool:
    return any(fnmatchcase(name, one) for one in pattern.split(","))


def _flat(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{path}{key}.")
        else:
            flat[path + key] = value
    return flat


def _parse(body: bytes) -> list[tuple[str, dict[str, Any], bytes]]:
    *lines, last = body.split(b"\n")
    if last:
        raise _Refused(400, "illegal_argument_exception")
    actions = []
    each = iter(lines)
    for line in each:
        try:
            ((op, meta),) = json.loads(line).items()
        except ValueError:
            raise _Refused(400, "illegal_argument_exception") from None
        if len(str(meta.get("_id", "")).encode()) > _ID_BYTES:
            raise _Refused(400, "action_request_validation_exception")
        actions.append((op, meta, b"" if op == "delete" else next(each)))
    return actions


def _removed(meta: dict[str, Any], documents: dict[str, _Stored]) -> dict[str, Any]:
    """Remove a document; the fake forgets its version at once, the real one after `gc_deletes`."""
    held = documents.get(meta["_id"])
    version, _ = _next_version("delete", meta, held)
    if held is not None:
        del documents[meta["_id"]]
    found = held is not None
    return {
        "_version": version,
        "result": "deleted" if found else "not_found",
        "status": 200 if found else 404,
    }


def _source(document: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise _Refused(400, "document_parsing_exception")
        return dict(pairs)

    try:
        source = json.loads(document, object_pairs_hook=unique)
    except ValueError:
        raise _Refused(400, "document_parsing_exception") from None
    if not isinstance(source, dict):
        raise _Refused(400, "document_parsing_exception")
    return source


def _next_version(op: str, meta: dict[str, Any], held: _Stored | None) -> tuple[int, bool]:
    conflict = _Refused(409, "version_conflict_engine_exception")
    if op == "create" and held is not None:
        raise conflict
    if meta.get("version_type") == "external_gte":
        version = int(meta["version"])
        if held is not None and version < held.version:
            raise conflict
        return version, held is None
    return (1, True) if held is None else (held.version + 1, False)


def _check(source: Mapping[str, Any], properties: Mapping[str, Any], *, strict: bool) -> None:
    for name, value in source.items():
        mapping = properties.get(name)
        if mapping is None:
            if strict:
                raise _Refused(400, "strict_dynamic_mapping_exception")
            continue
        if mapping.get("enabled") is False or value is None:
            continue
        for one in value if isinstance(value, list) else [value]:
            _check_value(one, mapping, strict=strict)


def _check_value(value: Any, mapping: Mapping[str, Any], *, strict: bool) -> None:
    kind = mapping.get("type", "object")
    if kind == "object":
        if not isinstance(value, dict):
            raise _Refused(400, "document_parsing_exception")
        _check(value, mapping.get("properties", {}), strict=strict)
    elif not _fits(value, kind):
        raise _Refused(400, "document_parsing_exception")


def _fits(value: Any, kind: str) -> bool:
    if kind == "flattened":
        return isinstance(value, dict)
    if isinstance(value, dict | list):
        return False
    if kind == "date" and isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return False
    if kind in {"long", "double"}:
        try:
            float(value)
        except (TypeError, ValueError):
            return False
    return True


def _filtered(value: Any, paths: Iterable[list[str]]) -> Any:
    """Return what `filter_path` leaves of an answer; lists are passed through (as the real one)."""
    if isinstance(value, list):
        return [_filtered(one, paths) for one in value]
    left: dict[str, Any] = {}
    for key, inner in value.items():
        rest = [path[1:] for path in paths if path[0] in {key, "*"}]
        if any(not path for path in rest):
            left[key] = inner
        elif rest and isinstance(inner, dict | list):
            found = _filtered(inner, rest)
            if found:
                left[key] = found
    return left
