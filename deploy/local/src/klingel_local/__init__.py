"""Real Kafka and real Elasticsearch on one machine, without Docker."""

from klingel_local.errors import LocalStackError
from klingel_local.stack import LocalStack

__all__ = ["LocalStack", "LocalStackError"]
