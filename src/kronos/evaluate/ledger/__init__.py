"""What was said before it was known: an append-only store of forecasts and how they turned out."""
