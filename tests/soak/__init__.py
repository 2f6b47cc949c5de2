"""Random changes under traffic, for as long as one likes. ``make test-soak`` runs it."""
