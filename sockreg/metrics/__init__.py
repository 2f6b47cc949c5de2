"""A registry for Prometheus: its metrics, and how they are served."""
