"""Small real servers for units to start: each answers with its name and the address asked.

They take their sockets from systemd (sd_listen_fds(3)) and run as modules, with the source
tree as working directory: ``python3 -m tests.servers.accept_loop web``. What a client gets
from the one asked at 192.0.2.1, port 80, is ``web 192.0.2.1:80``.
"""
