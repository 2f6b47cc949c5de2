"""The lint: what is wrong with units, rules and sockets, before and after deployment.

``facts`` has the data that checks may use, and ``gather`` reads it from files and the kernel.
``pairs``, ``receivers``, ``registrations``, ``rules`` and ``system`` have the checks: functions
from facts to findings, which add themselves to the list in ``checks``. ``run`` runs them.
"""
