"""The state of this machine: sockets, processes, routes, namespaces, control groups."""
