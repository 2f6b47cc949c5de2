"""Sockets that other processes pass: the protocol, and the entry of sockreg-receive@.service."""
