"""The lint: what is wrong with units, rules and sockets, before and after deployment.

``facts`` is what a check may look at, ``gather`` reads it from files and the kernel, and
``pairs``, ``receivers``, ``registrations``, ``rules`` and ``system`` hold checks: functions
from facts to findings, which add themselves to the list in ``checks``. ``run`` runs them.
"""
