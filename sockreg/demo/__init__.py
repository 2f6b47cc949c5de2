"""``sockreg demo``: shows sockreg at work in namespaces of its own, and has an example server."""
