"""The lint: what is wrong with units, rules and sockets, before and after deployment.

``facts`` is what a check may look at, ``gather`` reads it from files and the kernel, and
every other module holds checks: functions from facts to findings, without any access to
the system of their own. ``run`` has the list of them all.
"""
