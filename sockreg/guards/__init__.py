"""Guards that keep operators from locking themselves out."""
