"""Kafka as services read and write it that need no transactions: group membership and a sink."""
