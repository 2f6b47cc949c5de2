"""Faults at each system call by which a command changes something. ``make test-faults`` runs it."""
