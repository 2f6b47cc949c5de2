"""What is registered, counted and in force: the pins of a network namespace, read and written."""
