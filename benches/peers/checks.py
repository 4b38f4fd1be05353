#!/usr/bin/env python3
"""What health checks cost and how soon they notice, beside HAProxy: `benches/peers/checks.py` after a release build.

Cost: so many checks at an interval each, by Rollcall and by HAProxy in turns, each alone on core 0, against a third process on
core 1 that answers at 50 addresses of loopback. CPU is that of all threads of the prober; probes are the connections
that the network namespace opened meanwhile, of which nobody else is in (Rollcall's own count stands beside). Rollcall
without instances is measured as well, and not subtracted.

Detection: listeners that close at random moments, watched by both at once: Rollcall by DNS questions over UDP until the
name has no address, HAProxy by its statistics until the server is down.

Needs root (for the namespace), haproxy and two cores. Absolute figures depend on the machine; read the ratios.
"""
import argparse, json, os, random, shutil, socket, statistics, struct, subprocess, sys, tempfile, threading, time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
PORT = 23790


class Program:
    """A program pinned to a core."""

    def __init__(self, core, words, log):
        self.log = open(log, "w")
        # Before whatever else the machine does; the three programs alike.
        words = ["nice", "-n", "-10", "taskset", "-c", str(core), *words]
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log)

    def cpu(self):
        """Seconds on a core, of all threads."""
        folder = f"/proc/{self.process.pid}/task"
        spent = 0
        for task in os.listdir(folder):
            try:
                with open(f"{folder}/{task}/schedstat") as f:
                    spent += int(f.read().split()[0])
            except FileNotFoundError:
                pass
        return spent / 1e9

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


def wait_for(port, limit=30):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nobody listens on port {port}")


def opened():
    """Connections that were opened from this network namespace."""
    with open("/proc/net/snmp") as f:
        names, values = [line.split() for line in f if line.startswith("Tcp:")]
    return int(values[names.index("ActiveOpens")])


def haproxy_head(sock):
    return (f"global\n  nbthread 1\n  maxconn 6000\n  stats socket {sock} mode 600 level admin\ndefaults\n"
            "  timeout connect 2s\n  timeout client 5s\n  timeout server 5s\n")


def put(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


def haproxy_states(sock):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(sock)
        s.sendall(b"show stat -1 4 -1\n")
        text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
    return {line.split(",")[1]: line.split(",")[17] for line in text.splitlines() if line.startswith("b,")}


class Rollcall:
    def __init__(self, binary, folder, core):
        self.http, self.dns = PORT + 1, PORT + 2
        self.program = Program(core, [binary, "serve", "--memory", f"--http=127.0.0.1:{self.http}",
                                      f"--dns=127.0.0.1:{self.dns}", "--log=warn"], f"{folder}/rollcall.log")
        end = time.monotonic() + 30
        while True:
            try:
                self.get("/readyz")
                return
            except OSError:
                if time.monotonic() > end:
                    sys.exit(open(f"{folder}/rollcall.log").read())
                time.sleep(0.05)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as reply:
            return reply.read().decode()

    def register(self, operations):
        for at in range(0, len(operations), 500):
            body = json.dumps({"operations": operations[at:at + 500]}).encode()
            request = urllib.request.Request(f"http://127.0.0.1:{self.http}/v1/batch", body, {"content-type": "application/json"})
            urllib.request.urlopen(request, timeout=30).read()

    def metric(self, name):
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.get("/metrics").splitlines() if line.startswith(name))

    def has_address(self, name):
        """Whether a name has an address, by one question over UDP."""
        question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(2)
            s.connect(("127.0.0.1", self.dns))
            s.send(struct.pack(">HHHHHH", 7, 0, 1, 0, 0, 0) + question + struct.pack(">HH", 1, 1))
            return struct.unpack(">H", s.recv(4096)[6:8])[0] > 0


def registration(service, id, address, port, check):
    return {"op": "register", "service": service, "id": id, "address": address, "port": port, "shared_address": True,
            "checks": [check]}


def cost_of(name, program, a, count=None):
    """CPU of a prober and probes within so many seconds."""
    before, cpu, own, began = opened(), program.cpu(), count and count(), time.monotonic()
    time.sleep(a.seconds)
    spent, took, probes = program.cpu() - cpu, time.monotonic() - began, opened() - before
    said = {"prober": name, "probes_per_s": round(probes / took), "core_percent": round(100 * spent / took, 1),
            "cpu_us_per_probe": round(spent * 1e6 / max(probes, 1), 1)}
    if count:
        said["own_count_per_s"] = round((count() - own) / took)
    return said


def cost(a, folder, kind):
    addresses = [(f"127.0.0.{1 + at % 10}", PORT + 10 + at // 10 % 5) for at in range(50)]
    binds = "\n".join(f"  bind {address}:{port}" for address, port in addresses)
    target = put(f"{folder}/target.cfg", haproxy_head(f"{folder}/target.sock")
                 + f"frontend f\n  mode http\n{binds}\n  http-request return status 200\n")
    ask = "  option httpchk GET /health\n" if kind == "http" else ""
    servers = "\n".join(f"  server s{at} {addresses[at % 50][0]}:{addresses[at % 50][1]} check inter {a.interval}s fall 3 rise 2"
                        for at in range(a.checks))
    peer = put(f"{folder}/peer.cfg", haproxy_head(f"{folder}/peer.sock") + f"backend b\n  mode http\n{ask}{servers}\n")
    check = {"type": kind, "interval": f"{a.interval}s", "rise": 2} | ({"path": "/health"} if kind == "http" else {})
    operations = [registration(f"s{at // 500}", f"i{at}", *addresses[at % 50], check) for at in range(a.checks)]
    target = Program(1, ["haproxy", "-db", "-f", target], f"{folder}/target.log")
    wait_for(PORT + 10)
    ratios = []
    try:
        for round_ in range(a.rounds):
            here = {}
            order = ("haproxy", "rollcall") if round_ % 2 == 0 else ("rollcall", "haproxy")
            for name in ("rollcall",) if a.alone else order:
                if name == "haproxy":
                    program = Program(0, ["haproxy", "-db", "-f", peer], f"{folder}/peer.log")
                    count = None
                else:
                    rollcall = Rollcall(a.rollcall, folder, 0)
                    program = rollcall.program
                    if round_ == 0:
                        time.sleep(1)
                        say(what="nothing to probe", **cost_of(name, program, a))
                    rollcall.register(operations)
                    count = lambda: rollcall.metric("rollcall_check_probes_total")
                time.sleep(3 + a.interval)
                here[name] = cost_of(name, program, a, count)
                if name == "rollcall":
                    others = [f'rollcall_check_probes_total{{type="{kind}",result="{result}"}}' for result in ("failed", "silent", "abandoned")]
                    here[name]["failed"] = round(sum(map(rollcall.metric, others)))
                    here[name]["skipped"] = round(rollcall.metric("rollcall_check_probes_skipped_total"))
                else:
                    here[name]["failed"] = sum(not state.startswith("UP") for server, state in haproxy_states(f"{folder}/peer.sock").items() if server != "BACKEND")
                program.stop()
                say(what=f"{kind} probes", checks=a.checks, round=round_, **here[name])
            if not a.alone:
                ratios.append(here["rollcall"]["cpu_us_per_probe"] / here["haproxy"]["cpu_us_per_probe"])
    finally:
        target.stop()
    if ratios:
        say(what=f"{kind} probes", rollcall_to_haproxy=[round(ratio, 2) for ratio in ratios], median=round(statistics.median(ratios), 2))


class Listeners:
    """Listeners that accept and close, until they are closed."""

    def __init__(self, ports):
        self.open = {}
        for port in ports:
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", port))
            s.listen(64)
            s.setblocking(False)
            self.open[port] = s
        self.on = True
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while self.on:
            for s in list(self.open.values()):
                try:
                    s.accept()[0].close()
                except OSError:
                    pass
            time.sleep(0.005)


def detection(a, folder):
    ports = [PORT + 100 + at for at in range(a.victims)]
    listeners = Listeners(ports)
    servers = "\n".join(f"  server v{port} 127.0.0.1:{port} check inter 1s fastinter 100ms fall 3 rise 2" for port in ports)
    peer = put(f"{folder}/peer.cfg", haproxy_head(f"{folder}/peer.sock") + f"backend b\n  mode tcp\n{servers}\n")
    rollcall = Rollcall(a.rollcall, folder, 0)
    check = {"type": "tcp", "interval": "1s", "fall": 3, "rise": 2}
    rollcall.register([registration(f"v{port}", "i1", "127.0.0.1", port, check) for port in ports])
    program = Program(0, ["haproxy", "-db", "-f", peer], f"{folder}/peer.log")
    took = {"rollcall": [], "haproxy": []}
    try:
        time.sleep(4)
        for port in ports:
            assert rollcall.has_address(f"v{port}.svc.internal"), port
        gone = {"rollcall": {}, "haproxy": {}}
        todo, chance, next_ = random.Random(7).sample(ports, len(ports)), random.Random(8), time.monotonic()
        while todo or gone["rollcall"] or gone["haproxy"]:
            if todo and time.monotonic() >= next_:
                port = todo.pop()
                listeners.open.pop(port).close()
                gone["rollcall"][port] = gone["haproxy"][port] = time.monotonic()
                next_ += chance.uniform(0.0, 0.06)
            for port in list(gone["rollcall"]):
                if not rollcall.has_address(f"v{port}.svc.internal"):
                    took["rollcall"].append(1000 * (time.monotonic() - gone["rollcall"].pop(port)))
            states = haproxy_states(f"{folder}/peer.sock") if gone["haproxy"] else {}
            for port in list(gone["haproxy"]):
                if states.get(f"v{port}", "").startswith("DOWN"):
                    took["haproxy"].append(1000 * (time.monotonic() - gone["haproxy"].pop(port)))
            time.sleep(0.002)
    finally:
        listeners.on = False
        rollcall.program.stop()
        program.stop()
    for name, times in took.items():
        times.sort()
        say(what="closed until out of answers", prober=name, n=len(times), min_ms=round(times[0]),
            p50_ms=round(times[len(times) // 2]), p99_ms=round(times[len(times) * 99 // 100]), max_ms=round(times[-1]))


def say(**fields):
    print(json.dumps(fields), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rollcall", default=f"{HERE}/../../target/release/rollcall")
    p.add_argument("--what", default="tcp,http,detection")
    p.add_argument("--checks", type=int, default=5000)
    p.add_argument("--interval", type=int, default=1, help="seconds")
    p.add_argument("--seconds", type=float, default=5)
    p.add_argument("--alone", action="store_true", help="without HAProxy, which does not start with 50,000 servers")
    p.add_argument("--rounds", type=int, default=4)
    p.add_argument("--victims", type=int, default=200)
    a = p.parse_args()
    if os.environ.get("ROLLCALL_BENCH_ALONE") != "1":
        os.environ["ROLLCALL_BENCH_ALONE"] = "1"
        within = 'ip link set lo up && exec "$0" "$@"'
        os.execvp("unshare", ["unshare", "-n", "sh", "-c", within, sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
    folder = tempfile.mkdtemp(prefix="checks-")
    try:
        for what in a.what.split(","):
            detection(a, folder) if what == "detection" else cost(a, folder, what)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
