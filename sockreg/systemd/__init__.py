"""The interfaces of systemd: passed sockets, unit files, units of processes, the journal."""
