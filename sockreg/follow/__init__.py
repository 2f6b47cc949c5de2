"""Following etcd: conf files from keys, and for each host a key that says what became of them.

What it knows of sockreg is its command line. It is not needed for rules to stay in force.
"""
