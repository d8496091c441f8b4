"""Connector services: they read networks and publish raw events to Kafka."""
