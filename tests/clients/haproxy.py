"""What an HAProxy says of its servers through its stats socket.

    haproxy.py SOCKET BACKEND                  one line per server that has an address: NAME ADDRESS:PORT WEIGHT STATUS
    haproxy.py SOCKET BACKEND watch SECONDS    looks every 0.2 s and prints what changed; then how often it looked
"""

import csv
import socket
import sys
import time


def say(command):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(sys.argv[1])
        sock.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


def servers():
    rows = csv.DictReader(say("show stat").removeprefix("# ").splitlines())
    found = {}
    for row in rows:
        if row["pxname"] == sys.argv[2] and row["svname"] not in ("BACKEND", "FRONTEND"):
            if not row["status"].startswith("MAINT"):
                found[row["svname"]] = f"{row['addr']} {row['weight']} {row['status']}"
    return found


if len(sys.argv) == 3:
    for name, said in servers().items():
        print(name, said)
else:
    before, looks, changes = servers(), 0, 0
    end = time.monotonic() + float(sys.argv[4])
    while time.monotonic() < end:
        time.sleep(0.2)
        now, looks = servers(), looks + 1
        for name in before.keys() | now.keys():
            if before.get(name) != now.get(name):
                changes += 1
                print(f"{name}: {before.get(name)} -> {now.get(name)}")
        before = now
    print(f"{looks} looks, {changes} changes, {len(before)} servers")
