"""Sends a Rollcall on 127.0.0.1:53 what nobody should send, for some seconds, and looks at it afterwards.

    abuse.py PID SECONDS SEED

At most so many seconds and so many packets per kind; only loopback is ever a target. The letters are those of the
project's list of abuse. What must hold: whatever comes back parses and is a reply, nothing answers a reply, an SOA is
answered within a second, and memory and descriptors are back where they were.
"""

import os
import random
import socket
import struct
import sys
import time

import dns.exception
import dns.message
import dns.query

SERVER = ("127.0.0.1", 53)
PACKETS_MAX = 60_000
CONNECTIONS_MAX = 300

pid, seconds, seed = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
problems = []


def resident():
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def descriptors():
    return len(os.listdir(f"/proc/{pid}/fd"))


def header(flags=0x0100, counts=(1, 0, 0, 0)):
    return struct.pack("!6H", rng.randrange(65536), flags, *counts)


def name(text):
    return b"".join(bytes([len(label)]) + label.encode("latin1") for label in text.split(".") if label) + b"\0"


def question(text="_huge._tcp.svc.internal", kind=33, flags=0x0100, counts=(1, 0, 0, 0)):
    return header(flags, counts) + name(text) + struct.pack("!2H", kind, 1)


def opt(data=b"", payload=1232, version=0):
    return b"\0" + struct.pack("!2HIH", 41, payload, version << 16, len(data)) + data


def edns(text="_huge._tcp.svc.internal", kind=33, data=b"", payload=1232, opts=1):
    return question(text, kind, counts=(1, 0, 0, opts)) + opt(data, payload) * opts


def odd_packets():
    """One of each kind that has a name."""
    tail = struct.pack("!2H", 1, 1)
    # D2: pointers to itself, in a circle, forward, into the header, and a chain.
    for labels in (b"\xc0\x0c", b"\xc0\x0e\xc0\x0c", b"\xc0\x40", b"\xc0\x02", b"\x01a\xc0\x0c"):
        yield header() + labels + tail
    chain = b"".join(struct.pack("!H", 0xC000 | (12 + 2 * n + 2)) for n in range(126)) + b"\0"
    yield header() + chain + tail
    # D3: counts with nothing behind them.
    for at in range(4):
        counts = [0, 0, 0, 0]
        counts[at] = 65535
        yield header(counts=counts)
        yield question(counts=[1 if at else 65535] + counts[1:])
    # D4: other opcodes.
    for opcode in range(16):
        yield question(flags=opcode << 11)
    # D5: a reply.
    yield question(flags=0x8180)
    # D6: types that could answer at length, with room for it.
    for kind in (255, 2, 48, 16, 33, 12, 6, 250, 251, 252, 65, 0, 65535):
        yield edns(kind=kind, payload=65535)
        yield edns("svc.internal", kind, payload=65535)
    # D15: names of any octets and any length.
    for text in ("\0\x1b\n\"'\xff.svc.internal", ".".join("a" * 127) , ".".join(["b" * 63] * 3 + ["c" * 61])):
        yield question(text)
    yield header() + b"\x40abc\0" + tail
    yield header() + bytes([63]) + b"x" * 20
    # D16: OPT twice, options beyond their end, many options.
    yield edns(opts=2)
    yield edns(data=b"\0\x0a\xff\xff\0")
    yield edns(data=b"\xfd\xe9\0\0" * 1000)
    yield edns(data=b"\0\x0c" + struct.pack("!H", 20_000) + b"\0" * 20_000)
    # D17: TSIG, SIG(0) and TKEY of odd lengths.
    for kind, length in ((250, 0), (250, 7), (24, 3), (249, 1)):
        yield question(counts=(1, 0, 0, 1)) + b"\0" + struct.pack("!2HIH", kind, 255, 0, length) + b"\1" * length
    # D18: less than a header, and as much as a datagram holds.
    for length in (*range(12), 60_000):
        yield bytes(rng.randrange(256) for _ in range(length))


def mutated():
    """D1: a good packet with a few octets of it changed, cut or added."""
    packet = bytearray(rng.choice([question, edns, lambda: edns("web.svc.internal", 1, b"\0\x0a\0\x08" + b"c" * 8)])())
    for _ in range(rng.randrange(1, 6)):
        what = rng.random()
        if what < 0.7 and packet:
            packet[rng.randrange(len(packet))] = rng.randrange(256)
        elif what < 0.85:
            del packet[rng.randrange(len(packet) + 1):]
        else:
            packet += bytes(rng.randrange(256) for _ in range(rng.randrange(40)))
    return bytes(packet)


def judge(sent, reply, most):
    """What holds of every reply."""
    if len(sent) > 2 and sent[2] & 0x80:
        problems.append(f"a reply was answered: {sent.hex()}")
    if len(reply) < 12 or not reply[2] & 0x80 or reply[:2] != sent[:2]:
        problems.append(f"no reply to this: {sent.hex()} -> {reply.hex()}")
    elif len(reply) > most:
        problems.append(f"{len(reply)} octets for {sent.hex()}")
    else:
        try:
            dns.message.from_wire(reply)
        except dns.exception.DNSException as error:
            problems.append(f"{error!r} in the reply to {sent.hex()}: {reply.hex()}")


def receive_all(sock, sent):
    """Judges what has come so far."""
    replies = 0
    while True:
        try:
            reply = sock.recv(65535)
        except (BlockingIOError, ConnectionRefusedError):
            return replies
        replies += 1
        packet = sent.get(reply[:2])
        if packet is None:
            problems.append(f"a reply to nothing: {reply.hex()}")
        else:
            judge(packet, reply, 1232)


def over_udp(until):
    """D1 to D9, D15 to D19: everything in datagrams, for a service of 1,000."""
    count = replies = 0
    while time.monotonic() < until and count < PACKETS_MAX:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(SERVER)
            sock.setblocking(False)
            sent = {}
            packets = list(odd_packets()) if count % 4000 == 0 else [mutated() for _ in range(100)]
            for packet in packets:
                # Ids are told apart within a round, so that each reply finds its packet.
                if packet[:2] in sent:
                    continue
                sent[packet[:2]] = packet
                sock.send(packet)
                count += 1
                replies += receive_all(sock, sent)
            time.sleep(0.001)
            replies += receive_all(sock, sent)
            # D8: names that nobody has; D19: gone before the reply comes.
            for _ in range(20):
                sock.send(question(f"n{rng.randrange(1 << 30)}.svc.internal", 1))
                count += 1
    return f"{count} datagrams, {replies} replies"


def connection(timeout=2.0):
    sock = socket.create_connection(SERVER, timeout)
    sock.settimeout(timeout)
    return sock


def exactly(sock, length):
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data


def over_tcp(until):
    """D1 and the named kinds again, framed; then what only a connection can do."""
    count = replies = 0
    while time.monotonic() < until and count < PACKETS_MAX:
        packets = [packet for packet in (odd_packets() if count == 0 else (mutated() for _ in range(20)))]
        for packet in packets:
            count += 1
            try:
                with connection(0.05) as sock:
                    sock.sendall(struct.pack("!H", len(packet)) + packet)
                    reply = exactly(sock, struct.unpack("!H", exactly(sock, 2))[0])
                    judge(packet, reply, 65535)
                    replies += 1
            except (TimeoutError, ConnectionError):
                pass
    return f"{count} framed messages, {replies} replies"


def connections():
    """D10 to D14: pipelines nobody reads, one octet, a length and no message, resets, other protocols."""
    open_ones = []
    for number in range(CONNECTIONS_MAX):
        try:
            sock = connection()
            match number % 6:
                case 0: sock.sendall(b"\0")
                case 1: sock.sendall(b"\xff\xff")
                case 2:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.sendall(b"\0\x30" + question()[:5])
                    sock.close()
                case 3: sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                case 4: sock.sendall(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 64)
                case 5: pass
            open_ones.append(sock)
        except OSError:
            pass
    hog = connection(0.5)
    message = question()
    framed = (struct.pack("!H", len(message)) + message) * 100
    sent = 0
    try:
        for _ in range(1000):
            sock_sent = hog.send(framed)
            sent += sock_sent
    except (TimeoutError, ConnectionError):
        pass
    soa(" while connections idle")
    hog.close()
    for sock in open_ones:
        sock.close()
    return f"{CONNECTIONS_MAX} connections, {sent // (len(message) + 2)} questions on one before it was stopped"


def soa(when):
    for ask in (dns.query.udp, dns.query.tcp):
        began = time.monotonic()
        try:
            reply = ask(dns.message.make_query("svc.internal", "SOA"), SERVER[0], timeout=1)
            if not reply.answer:
                problems.append(f"no SOA{when}")
        except (dns.exception.DNSException, OSError) as error:
            problems.append(f"no SOA within a second{when}: {error!r}")
        print(f"SOA{when} by {ask.__name__}: {1000 * (time.monotonic() - began):.1f} ms")


def settled(what, read, most):
    """Waits until it is back at no more than this."""
    for _ in range(150):
        if (now := read()) <= most:
            return now
        time.sleep(0.1)
    problems.append(f"{what}: {now}, at most {most} wanted")
    return now


def round_of(length):
    print(over_udp(time.monotonic() + length / 2))
    print(over_tcp(time.monotonic() + length / 2))
    print(connections())
    soa(" afterwards")


# Once to warm up: what a first use allocates for good is no leak.
files = descriptors()
round_of(min(seconds, 5) / 2)
files_warm = settled("descriptors after a warm-up", descriptors, files)
warm = resident()
round_of(seconds)
files_after = settled("descriptors", descriptors, files)
after = settled("resident memory in KiB", resident, warm * 1.2)
print(f"seed {seed}: resident {warm} -> {after} KiB, descriptors {files} -> {files_after}")
for problem in problems[:20]:
    print(f"NOT: {problem}")
sys.exit(bool(problems))
