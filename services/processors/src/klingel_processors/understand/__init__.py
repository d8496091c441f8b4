"""understand = normalise ▶ dedupe ▶ match ▶ enrich: raw events in, one social event per brand out."""
