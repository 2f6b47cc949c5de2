"""An ordinary server on a socket of its own that greets as sshd does, and hangs up."""

import socket

from systemd import daemon

with socket.create_server(("127.0.0.1", 22)) as listener:
    daemon.notify("READY=1")
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                connection.sendall(b"SSH-2.0-ordinary\r\n")
            except ConnectionError:
                continue  # a port scan does not wait for the greeting
