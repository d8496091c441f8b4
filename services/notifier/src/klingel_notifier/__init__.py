"""Escalations, alerts and incidents to chat, signed webhooks, mail and Alertmanager."""
