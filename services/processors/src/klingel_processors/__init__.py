"""Stream processors: understand and care."""
