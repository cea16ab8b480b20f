"""Many series checked, drawn, and cleaned into another lake."""
