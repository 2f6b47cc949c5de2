"""What systemd says and hears: passed sockets, unit files, units of processes, the journal."""
