"""care = triage ▶ route: social events in, cases and decisions out."""
