"""Asks Python's socket module, which asks the C library, for the addresses of names."""

import socket
import sys

for name in sys.argv[1:]:
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)}
        said = str(len(found)) if len(found) > 10 else " ".join(sorted(found))
    except socket.gaierror as error:
        said = f"-({error.strerror})"
    print(f"host:{name} {said}")
