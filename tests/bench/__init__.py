"""Measurements: what sockreg costs, beside what it is compared with in the same run."""
