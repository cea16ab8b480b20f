"""Published protocols and special questions: the five tasks of the paper, market periods, drift by look-back."""
