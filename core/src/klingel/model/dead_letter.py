"""DeadLetter: generated from schemas/events/dead-letter.v1.schema.json; never edited."""

from __future__ import annotations

from typing import Annotated

from klingel.model.base import Record
from msgspec import Meta, field


class DeadLetter(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Headers of a dead letter, with Kafka Connect's names; the value is the original bytes, the first 64 KiB when larger.
    """

    field__connect_errors_topic: Annotated[str, Meta(description='Topic it came from; empty where it came from outside.')] = field(
        name='__connect.errors.topic'
    )
    field__connect_errors_partition: Annotated[str, Meta(description='Partition.', extra_json_schema={'pattern': '^-?[0-9]+$'})] = field(
        name='__connect.errors.partition'
    )
    field__connect_errors_offset: Annotated[str, Meta(description='Offset.', extra_json_schema={'pattern': '^-?[0-9]+$'})] = field(
        name='__connect.errors.offset'
    )
    field__connect_errors_stage: Annotated[str, Meta(description='Stage.', min_length=1)] = field(
        name='__connect.errors.stage'
    )
    field__connect_errors_class_name: Annotated[str, Meta(description='Component.', min_length=1)] = field(
        name='__connect.errors.class.name'
    )
    field__connect_errors_exception_class_name: Annotated[str, Meta(description='Class of the error.', min_length=1)] = field(
        name='__connect.errors.exception.class.name'
    )
    field__connect_errors_exception_message: Annotated[str, Meta(description="One sentence without the author's words.")] = field(
        name='__connect.errors.exception.message'
    )
    x_dlq_kind: Annotated[str, Meta(description='Closed set: klingel.errors.ErrorType.', extra_json_schema={'pattern': '^[a-z_]+(:[A-Za-z_][A-Za-z0-9_]*)?$'})] = field(
        name='x-dlq-kind'
    )
    x_dlq_service: Annotated[str, Meta(description='Service and version.', min_length=1)] = field(
        name='x-dlq-service'
    )
    x_dlq_first_failed_at: Annotated[str, Meta(description='Time.', min_length=1)] = (
        field(name='x-dlq-first-failed-at')
    )
    x_dlq_attempt: Annotated[str, Meta(description='1, 2, ...', extra_json_schema={'pattern': '^[0-9]+$'})] = (
        field(name='x-dlq-attempt')
    )
    field__connect_errors_connector_name: (
        Annotated[str, Meta(description='Connector or app.')] | None
    ) = field(name='__connect.errors.connector.name', default=None)
    field__connect_errors_task_id: (
        Annotated[str, Meta(description='Worker.')] | None
    ) = field(name='__connect.errors.task.id', default=None)
    x_dlq_size: (
        Annotated[str, Meta(description='Original size in bytes.', extra_json_schema={'pattern': '^[0-9]+$'})]
        | None
    ) = field(name='x-dlq-size', default=None)
    x_dlq_sha256: (
        Annotated[
            str,
            Meta(description='Of the original, when cut.', extra_json_schema={'pattern': '^[0-9a-f]{64}$'}),
        ]
        | None
    ) = field(name='x-dlq-sha256', default=None)
    x_dlq_ref: (
        Annotated[str, Meta(description='Blob store address, when cut.')] | None
    ) = field(name='x-dlq-ref', default=None)
    x_dlq_network: Annotated[str, Meta(description='Network.')] | None = field(
        name='x-dlq-network', default=None
    )
    x_dlq_klingel_source: (
        Annotated[
            str,
            Meta(
                description='The klingel-source that the message carried; a redrive puts it back.'
            ),
        ]
        | None
    ) = field(name='x-dlq-klingel-source', default=None)
