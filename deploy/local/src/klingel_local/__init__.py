"""Real Kafka and real Elasticsearch on one machine, without Docker."""
