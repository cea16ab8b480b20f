"""From series to training windows: splits, packs, batches."""
