"""What keeps an operator from locking himself out."""
