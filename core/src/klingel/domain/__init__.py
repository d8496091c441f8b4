"""Decisions: pure functions of (event, state, now); no client library, clock, chance or log."""
