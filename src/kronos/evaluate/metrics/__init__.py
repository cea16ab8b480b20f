"""Pure functions: scores of forecasts against what came, and how sure one may be of their means."""
