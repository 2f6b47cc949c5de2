"""This machine as it is: sockets, processes, routes, namespaces, control groups."""
