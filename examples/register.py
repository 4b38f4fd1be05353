#!/usr/bin/env python3
"""Keeps a service listed for as long as it runs, with nothing but the standard library.

    examples/register.py SERVICE ID PORT [ADDRESS]
    examples/register.py web "$(hostname)" 8080

It serves a page on PORT, registers with a lease and a check, renews the lease in a thread of its own, registers again
when the server has lost it, and on SIGTERM or Ctrl-C drains, waits until no cache holds it, and deregisters. Take
`Registration` into a program of your own.

    ROLLCALL_HTTP_ADDR   where Rollcall's API is            (localhost:8500)
    LEASE_TTL            seconds that it stays listed when this program dies without a word, at least 2   (15)
"""

import http.client
import http.server
import json
import os
import random
import signal
import sys
import threading
import time
import urllib.parse


class Refused(Exception):
    """The server says no; asking the same again would be answered the same."""


class Registration:
    """An instance that stays registered from `start` to `leave`."""

    def __init__(self, api, service, instance, port, lease_ttl=15, **fields):
        self.api = api
        self.lease_ttl = lease_ttl
        path = [urllib.parse.quote(part, safe="") for part in (service, instance)]
        self.path = "/v1/services/{}/instances/{}".format(*path)
        # The number of this start: an older one cannot take the place of a newer.
        self.generation = int(time.time())
        self.body = {"port": port, "lease_ttl": f"{lease_ttl}s", "generation": self.generation, **fields}
        self.leaving = threading.Event()
        self.registered = False
        self.renewing = threading.Thread(target=self.keep, daemon=True)

    def call(self, method, path, body=None, headers=None, timeout=5):
        """Status and body of an answer. Status 0 is none: nobody is there, or it took too long."""
        connection = http.client.HTTPConnection(self.api, timeout=timeout)
        headers = dict(headers or {})
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            return 0, {"detail": str(error)}
        finally:
            connection.close()

    def register(self):
        status, answer = self.call("PUT", self.path, self.body)
        if status in (200, 201):
            self.registered = True
            print(f"registered as {answer['dns_name']}", flush=True)
        elif 400 <= status < 500 and status not in (408, 429):
            raise Refused(f"{answer.get('title')} ({status}): {answer.get('detail')}")
        else:
            print(f"not registered yet: status {status}, {answer.get('detail')}", flush=True)

    def renew(self):
        status, answer = self.call("POST", f"{self.path}/renew")
        if status in (404, 410):
            # The lease lapsed while this machine slept, somebody deregistered it, or the server forgot.
            self.register()
        elif status != 200:
            # The lease lives on for a while, and the next renewal may work.
            print(f"not renewed: status {status}, {answer.get('detail')}", flush=True)

    def keep(self):
        # A third of the lease survives a lost renewal; drawn apart, so that a thousand do not come at once.
        while not self.leaving.wait(self.lease_ttl / 3 * random.uniform(0.8, 1)):
            try:
                if self.registered:
                    self.renew()
                else:
                    self.register()
            except Refused as error:
                # Another has taken the place. The service goes on, without being found.
                print(f"no longer registered: {error}", flush=True)
                self.registered = False
                return

    def start(self):
        """Registers. A server that is not there is tried again; one that says no raises `Refused`."""
        self.register()
        self.renewing.start()

    def leave(self, drain_max=30):
        """Out of answers, wait until no cache holds it, and away. The lease is renewed until then."""
        if self.registered:
            status, _ = self.call("POST", f"{self.path}/drain?wait=true", timeout=drain_max)
            print("drained" if status == 200 else f"not drained: status {status}", flush=True)
        self.leaving.set()
        self.renewing.join()
        for _ in range(5):
            status, instance = self.call("GET", self.path)
            if not self.registered or status != 200 or instance["generation"] != self.generation:
                # It left before, or is another's by now.
                return
            condition = {"if-match": f'"{instance["revision"]}"'}
            status, answer = self.call("DELETE", self.path, headers=condition)
            # 412: it has changed since we looked. Its health most likely, and then it is still ours.
            if status != 412:
                print("deregistered" if status in (204, 404) else f"not deregistered: status {status}", flush=True)
                return


class Page(http.server.BaseHTTPRequestHandler):
    """The service itself."""

    def do_GET(self):
        page = b"hello\n"
        self.send_response(200)
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        """Probes come every few seconds."""


def main(words):
    if len(words) not in (3, 4) or not words[2].isdecimal():
        sys.exit(__doc__)
    service, instance, port, *address = words
    server = http.server.ThreadingHTTPServer((address[0] if address else "", int(port)), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    fields = {"checks": [{"type": "http", "path": "/"}], "ttl": "1s"}
    if address:
        fields["address"] = address[0]
    api = os.environ.get("ROLLCALL_HTTP_ADDR", "localhost:8500")
    registration = Registration(api, service, instance, server.server_port, int(os.environ.get("LEASE_TTL", "15")), **fields)

    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    try:
        registration.start()
    except Refused as error:
        sys.exit(f"{service}/{instance} cannot be registered: {error}")
    end.wait()
    # Still served while caches hold it.
    registration.leave()
    server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
