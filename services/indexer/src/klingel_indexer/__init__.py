"""Kafka to Elasticsearch, item by item."""
