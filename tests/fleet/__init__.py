"""Several boxes, as hosts of a fleet."""
