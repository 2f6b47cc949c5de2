"""A registry for Prometheus: what is told, and how it is served."""
