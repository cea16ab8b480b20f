"""What can be wrong with a series of bars: found, scored, mended, cut out."""
