"""klingel: contracts, pure domain and stage protocol of a social-care ingestion platform."""
