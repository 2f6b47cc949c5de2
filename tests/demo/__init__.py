"""The demo: the talk's, played with real units on a real systemd in a sandbox.

``python -m tests.demo`` (root) prints what an operator types and sees, and after every
step which ports are open. It ends with 1 if a step does not show what it says.
"""
