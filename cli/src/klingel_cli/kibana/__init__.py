"""Kibana as code: short definitions, and what Kibana and Elasticsearch get of them."""
