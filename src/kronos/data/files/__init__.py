"""Bars from files, as messy as they come."""
