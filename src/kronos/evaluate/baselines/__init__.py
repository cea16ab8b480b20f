"""Honest forecasters to be beaten: each reads the look-back, fits on it alone, and gives paths."""
