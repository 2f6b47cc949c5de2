"""Every reader of input against input that nobody would write."""
