"""Registers what standard input says, a line each: SERVICE/ID JSON. A number in angle brackets, `<60>`, makes as many
instances: it stands for 1 to 60 wherever it is written again as `<>`."""

import http.client
import re
import sys

api = http.client.HTTPConnection("127.0.0.1", 8500, timeout=10)


def put(name, body):
    service, instance = name.split("/")
    headers = {"content-type": "application/json"}
    api.request("PUT", f"/v1/services/{service}/instances/{instance}", body, headers)
    response = api.getresponse()
    text = response.read().decode()
    if response.status not in (200, 201):
        sys.exit(f"{name} {body}: {response.status} {text}")


for line in filter(None, map(str.strip, sys.stdin)):
    name, body = line.split(" ", 1)
    many = re.search(r"<(\d+)>", name)
    for number in range(1, int(many[1]) + 1) if many else [0]:
        put(re.sub(r"<\d*>", str(number), name), body.replace("<>", str(number)))
