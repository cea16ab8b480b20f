"""Bars over a network, one file a source."""
