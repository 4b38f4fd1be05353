"""What schemathesis cannot know of Rollcall from its document."""

import re

import schemathesis
from hypothesis import strategies as st

# Values of the formats of our own. The document tells their ranges in words, because no pattern can.
TEXTS = {
    "span": ["0s", "1m30s"],
    "ttl": ["0s", "1s", "5s", "1h", "1m30s", "60m", "3600000ms"],
    "lease-ttl": ["2s", "15s", "24h", "1h30m", "2000ms"],
    "interval": ["1s", "5s", "1h", "1500ms"],
    "fast-interval": ["50ms", "500ms", "1s"],
    "timeout": ["10ms", "999ms", "1s"],
    "guard-window": ["1s", "30s", "1h", "1500ms"],
    "guard-max": ["1s", "5m", "24h"],
    "span-or-never": ["never", "1s", "10m", "1000h"],
    "poll-wait": ["0s", "10ms", "100ms", "10m"],
    "answered-wait": ["0s", "10ms", "100ms", "1m"],
    "http-probe-url": ["http://127.0.0.1:9/", "http://[::1]:9/healthz?deep=1"],
    "https-probe-url": ["https://127.0.0.1:9/", "https://[::1]:9/healthz?deep=1"],
    "server-name": ["localhost", "Web.example.com", "a_b.c-d"],
    "statuses": ["200", "200-299", "200,204,301-302", " 100-599 , 404"],
    "domain-name": ["web.svc.internal", "web.svc.internal.", "_web._tcp.svc.internal", "example.com", "."],
    "moment": ["2020-02-29T00:00:00Z", "2026-07-01T12:00:00.123Z", "2026-07-01T12:00:00+02:00"],
    "event-cursor": ["0.0", "17.0", "9999999999999999999.999999999"],
    "record-type": ["A", "aaaa", "SRV", "TXT", "PTR", "HTTPS", "SOA", "ANY", "TYPE65", "type65280"],
}
for name, texts in TEXTS.items():
    schemathesis.openapi.format(name, st.sampled_from(texts))

# An instance that openapi.sh registers, and its check of type ttl.
REPORTED = {"service": "reported", "id": "r1", "check": "ttl"}

DURATION = re.compile(r"^([0-9]+(ms|s|m|h))+$")
MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def milliseconds(text):
    return sum(int(number) * MILLISECONDS[unit] for number, unit in re.findall(r"([0-9]+)(ms|s|m|h)", text))


def leave_one_of(parameters, one, other):
    """OpenAPI cannot say that two parameters exclude each other."""
    if parameters and one in parameters and other in parameters:
        del parameters[other]


def with_whole_numbers(value):
    """To JSON Schema 80.0 is an integer. Rollcall takes numbers as people write them."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [with_whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: with_whole_numbers(item) for key, item in value.items()}
    return value


@schemathesis.serializer("application/jsonl")
def lines(context, value):
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else repr(value).encode()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Valid requests are so, and waits end soon. How long they may be is left as it is, so that what is refused is still refused."""
    if case.meta is not None and case.meta.generation.mode.is_positive:
        leave_one_of(case.query, "service", "under")
        leave_one_of(case.query, "after", "cursor")
        leave_one_of(case.headers, "If-Match", "If-None-Match")
        # It knows no text for the patterns of these, and then sends none in the coverage phase.
        for name in ("If-Match", "If-None-Match"):
            if case.headers and case.headers.get(name) == "":
                case.headers[name] = "*"
        if isinstance(case.body, dict | list):
            case.body = with_whole_numbers(case.body)
        # Names at random are those of nobody; every other report is of somebody who is there.
        if case.operation.path.endswith(("/pass", "/fail", "/report")) and len(case.path_parameters["id"]) % 2:
            case.path_parameters = {name: REPORTED[name] for name in case.path_parameters}
        # A service cannot stand in for itself.
        if isinstance(case.body, dict) and case.body.get("fallback", "") == (case.path_parameters or {}).get("service"):
            case.body["fallback"] = None
    wait = (case.query or {}).get("wait")
    if not isinstance(wait, str):
        return
    longest = 60_000 if case.method in ("PUT", "POST") else 600_000
    if DURATION.match(wait) and 100 < milliseconds(wait) <= longest:
        case.query["wait"] = "100ms"
    # A drain waits for as long as caches may hold the instance, which is an hour at most and nothing that a test sees.
    if wait == "true" and case.path.endswith("/drain"):
        case.query["wait"] = "false"


@schemathesis.check
def problems_are_those_that_the_document_names(context, response, case):
    media_type = (response.headers.get("content-type") or [""])[0]
    if media_type != "application/problem+json":
        return None
    problem = response.json()
    assert problem["status"] == response.status_code, f"status {problem['status']} in the body"
    # 404 and 405 of the router are not the call's.
    if problem["type"] in ("urn:rollcall:no-route", "urn:rollcall:no-method"):
        return None
    document = case.operation.schema.raw_schema
    named = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    named = document["components"]["responses"][named["$ref"].rsplit("/", 1)[1]] if "$ref" in named else named
    assert problem["type"] in named.get("x-problems", []), f"{problem['type']} with {response.status_code} is not named"
    return None
