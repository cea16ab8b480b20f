"""The lake: series of bars at rest, as immutable parts under a log of commits."""
