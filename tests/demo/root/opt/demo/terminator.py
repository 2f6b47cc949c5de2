"""The talk's server: a plain blocking accept loop that says where it was reached, and hangs up."""

import socket

with socket.socket(fileno=3) as listener:  # the first passed descriptor, sd_listen_fds(3)
    while True:
        connection, _ = listener.accept()
        with connection:
            address, port = connection.getsockname()
            try:
                connection.sendall(f"terminator, reached at {address}:{port}\n".encode())
            except ConnectionError:
                continue  # a port scan does not wait for the answer
