"""The lint: what is wrong with units, rules and sockets, before and after deployment.

``facts`` has the data that checks may use, and ``gather`` reads it from files and the kernel.
``rules``, ``labels``, ``units``, ``passed_sockets``, ``answers`` and ``kernel`` have the checks:
functions from facts to findings, which add themselves to the list in ``catalogue``. ``run`` runs
them. ``probe`` asks UDP servers.
"""
