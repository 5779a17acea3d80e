"""What the demo, the end-to-end tests and the benchmarks share: an Understudy of one's own in a directory of
its own, a Redis client that notices every outage, and a check that nothing was left behind."""
import contextlib
import json
import os
import pathlib
import pwd
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("UNDERSTUDY_BUILD", ROOT / "build"))
IMAGE = pathlib.Path(os.environ.get("UNDERSTUDY_IMAGE", BUILD / "guest"))
MIB = 1 << 20


class Failed(Exception):
    """Something that was promised did not happen."""


class Skipped(Exception):
    """What the case needs is not to be had here."""


def now_ms():
    return time.monotonic() * 1000.0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes_with(text):
    """Ids of the processes whose command line has the text, zombies left out."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if text in (entry / "cmdline").read_bytes().decode(errors="replace"):
                found.append(int(entry.name))
    return found


def unused_uid():
    """An ordinary user's, whom nobody on this host is."""
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            taken.add(entry.stat().st_uid)
    return random.choice([uid for uid in range(100_000, 102_000) if uid not in taken])


def end_process(pid, text):
    """SIGKILL, if the process still has the text in its command line: the pid may be somebody else's by now."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if text in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)


class Understudy:
    """One understudyd, its guests and its configuration, in a run directory made for it. With `user`, a uid, all of it
    is that user's, and root starts it as him."""

    def __init__(self, config, run_dir=None, quiet=True, user=None):
        self.base = pathlib.Path(run_dir or tempfile.mkdtemp(prefix="understudy-"))
        self.own_base = run_dir is None
        self.run_dir = self.base / "run"
        self.config = self.base / "understudy.toml"
        self.config.write_text(config)
        self.quiet = quiet
        self.identity = {}
        if user is not None:
            self.identity = {"user": user, "group": user, "extra_groups": [], "env": {**os.environ, "HOME": str(self.base)}}
            for path in (self.base, self.config):
                os.chown(path, user, user)

    def command(self, *args):
        return [str(BUILD / "bin" / "understudy"), "--run-dir", str(self.run_dir), *args]

    def run(self, *args, check=True, limit_s=120):
        try:
            done = subprocess.run(self.command(*args), capture_output=True, text=True, timeout=limit_s, check=False,
                                  **self.identity)
        except subprocess.TimeoutExpired as expired:
            said = (expired.stdout or b"").decode(errors="replace")
            raise Failed(f"understudy {' '.join(args)}: nothing for {limit_s} s\n{said}{self.log()}") from expired
        if check and done.returncode != 0:
            raise Failed(f"understudy {' '.join(args)}: exit status {done.returncode}\n{done.stdout}{done.stderr}{self.log()}")
        return done

    def ask(self, *args):
        return json.loads(self.run(*args, "--json").stdout)

    def up(self, limit_s=120):
        return self.run("up", "-f", str(self.config), "--detach", limit_s=limit_s)

    def down(self):
        self.show_blocked()
        return self.run("down")

    def show_blocked(self):
        """For whoever reads the log of a run: what held up the loop. No test: times here depend on the machine."""
        for line in self.run("events", "--json", check=False).stdout.splitlines():
            if json.loads(line)["kind"] == "loop-blocked":
                print(f"  {json.loads(line)['text']}", file=sys.stderr, flush=True)

    def status(self):
        return self.ask("status")

    def app(self, name="redis"):
        return next(a for a in self.status()["applications"] if a["name"] == name)

    def guest(self, name):
        return next(g for g in self.status()["guests"] if g["name"] == name)

    def events(self):
        lines = self.run("events", "--json").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def wait_for(self, met, what, limit_s=60):
        """Follows the events, and asks `met` (with the event) after each until it is true."""
        if met(None):
            return
        follower = subprocess.Popen(self.command("events", "--follow", "--json"), stdout=subprocess.PIPE, text=True,
                                    **self.identity)
        expired = threading.Event()

        def expire():
            expired.set()
            follower.terminate()

        timer = threading.Timer(limit_s, expire)
        timer.start()
        try:
            for line in follower.stdout:
                if met(json.loads(line)):
                    return
        finally:
            timer.cancel()
            follower.terminate()
            follower.wait()
        reason = f"not within {limit_s} s" if expired.is_set() else "understudyd ended"
        raise Failed(f"waited for {what}: {reason}\n{json.dumps(self.status(), indent=1)}\n{self.log()}")

    def wait_protected(self, app="redis", limit_s=60):
        def met(_):
            status = self.app(app)
            return status["state"] == "serving" and status["protected"]

        self.wait_for(met, f"{app} serving and protected", limit_s)

    def log(self):
        log = self.run_dir / "understudyd.log"
        return log.read_text()[-4000:] if log.exists() else ""

    def daemon_pid(self):
        return int((self.run_dir / "understudyd.pid").read_text())

    def wait_daemon(self, limit_s=60):
        """Until one answers, while an `up` that has not returned is on its way."""
        limit_ms = now_ms() + limit_s * 1000
        while self.run("status", check=False).returncode != 0:
            if now_ms() > limit_ms:
                raise Failed(f"no daemon answered within {limit_s} s\n{self.log()}")

    def kill_daemon(self):
        """SIGKILL, and until it has really ended: its lock goes with it."""
        pid = self.daemon_pid()
        descriptor = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        ended.poll()
        os.close(descriptor)

    def qemu_pid(self, guest):
        pids = [p for p in processes_with(f"understudy:{self.run_dir}:{guest}:")]
        if len(pids) != 1:
            raise Failed(f"{guest} has {len(pids)} QEMU processes, not one: {pids}")
        return pids[0]

    def check_table(self):
        """The rows add up to the pool, and no area has two owners."""
        table = self.ask("table")
        total = sum(row["bytes"] for row in table["rows"])
        if total != table["pool_bytes"] + table["over_budget_bytes"]:
            raise Failed(f"the table does not add up: {total} of {table['pool_bytes']}\n{json.dumps(table, indent=1)}")
        if table["over_budget_bytes"] != 0:
            raise Failed(f"over budget by {table['over_budget_bytes']} bytes\n{json.dumps(table, indent=1)}")
        ids = [row["id"] for row in table["rows"]]
        if len(ids) != len(set(ids)):
            raise Failed(f"an area stands in the table twice: {ids}")
        return table

    def table_of_areas(self):
        return [row for row in self.check_table()["rows"] if row["id"].startswith("area-")]

    def check_nothing_left(self):
        """After down: no process, file, mount or socket."""
        left = [f"process {pid}" for pid in processes_with(str(self.run_dir))]
        if self.run_dir.exists():
            left += [f"file {path}" for path in [self.run_dir, *self.run_dir.rglob("*")]]
        mounts = pathlib.Path("/proc/self/mounts").read_text()
        left += [f"mount {line}" for line in mounts.splitlines() if str(self.run_dir) in line]
        if left:
            raise Failed("left behind: " + ", ".join(left))

    def end(self, *clients):
        """The end of a case that went well: the clients read nothing wrong, the table adds up, and nothing is left."""
        for client in clients:
            client.stop()
            if client.wrong:
                raise Failed(f"the client at port {client.port} read something wrong: " + "; ".join(client.wrong[:3]))
        self.check_table()
        self.down()
        self.check_nothing_left()

    def close(self):
        """Ends whatever is left, by force if need be, and removes the directory. Never raises."""
        with contextlib.suppress(Exception):
            self.run("down", check=False)
        for pid in processes_with(str(self.run_dir)):
            end_process(pid, str(self.run_dir))
        if self.run_dir.exists():  # whoever was in its way has ended now; the pool is a mount
            with contextlib.suppress(Exception):
                self.run("down", check=False)
        if self.own_base:
            shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


NO_RESTART = '{ attempts = 0, window = "60 s", delay = "100 ms" }'


def guests_config(guests, pool, dumps=False):
    """The configuration up to its applications: the pool, the image, the guests."""
    text = f"""[pool]
memory = "{pool}"
[image]
kernel = "{IMAGE}/vmlinux"
initramfs = "{IMAGE}/initramfs.cpio"
disk = "{IMAGE}/apps.squashfs"
"""
    for name in guests:
        text += f'[[guest]]\nname = "{name}"\nbase_memory = "128 MiB"\noverhead = "160 MiB"\n'
        text += "crash_dump = true\n" if dumps else ""
    return text


def redis_application(name, port, *, guests, inside=6379, memory="1 GiB", minimum="512 MiB", maxmemory="768mb", extra="",
                      while_down="wait", start_extra=(), restart=None, flap="{ takeovers = 0 }"):
    """Redis at 127.0.0.1:`port`, and at port `inside` of the guest in which it runs."""
    names = ", ".join(f'"{guest}"' for guest in guests)
    more = "".join(f', "{arg}"' for arg in start_extra)
    restart = restart or '{ attempts = 3, window = "60 s", delay = "100 ms" }'
    return f"""[[application]]
name = "{name}"
guests = [{names}]
memory = "{memory}"
minimum_memory = "{minimum}"
hot_standby = {"true" if len(guests) > 1 else "false"}
start = ["/usr/bin/redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--port", "{inside}", "--save", "",
         "--appendonly", "no", "--maxmemory", "{maxmemory}", "--supervised", "systemd"{more}]
ready = "notify"
prepare = ["/usr/bin/redis-server", "--version"]
address = {{ listen = "127.0.0.1:{port}", port = {inside}, while_down = "{while_down}", wait_limit = "60 s" }}
health = {{ kind = "tcp", port = {inside}, interval = "500 ms", limit = "1 s", failures = 3 }}
restart = {restart}
flap = {flap}
{extra}
"""


def root_application(script):
    """Root in alpha, beside whatever else is there, runs this; quotes in it are escaped for TOML."""
    return f"""[[application]]
name = "root"
guests = ["alpha"]
memory = "64 MiB"
user = "root"
start = ["/bin/sh", "-c", "{script}"]
health = {{ kind = "process" }}
"""


def redis_config(port, *, guests=("alpha", "beta"), pool="1600 MiB", dumps=False, **options):
    return guests_config(guests, pool, dumps) + redis_application("redis", port, guests=guests, **options)


class Redis:
    """A connection to Redis, just enough of its protocol."""

    def __init__(self, port, limit_s=60):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=limit_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def close(self):
        self.socket.close()

    def send(self, *commands):
        text = b""
        for command in commands:
            words = [w if isinstance(w, bytes) else str(w).encode() for w in command]
            text += b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
        self.socket.sendall(text)

    def fill(self):
        more = self.socket.recv(65536)
        if not more:
            raise ConnectionError("Redis closed the connection")
        self.pending += more

    def line(self):
        while b"\r\n" not in self.pending:
            self.fill()
        line, _, self.pending = self.pending.partition(b"\r\n")
        return line

    def reply(self):
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise Failed("Redis: " + rest.decode())
        if kind == b":":
            return int(rest)
        if kind != b"$":
            return rest
        size = int(rest)
        if size < 0:
            return None
        while len(self.pending) < size + 2:
            self.fill()
        value, self.pending = self.pending[:size], self.pending[size + 2:]
        return value

    def do(self, *command):
        self.send(command)
        return self.reply()


def load_keys(port, count, value=b"x" * 64, batch=500):
    redis = Redis(port)
    for first in range(0, count, batch):
        last = min(first + batch, count)
        redis.send(*[("SET", f"key:{number}", value) for number in range(first, last)])
        for _ in range(first, last):
            redis.reply()
    size = redis.do("DBSIZE")
    redis.close()
    return size


class Client(threading.Thread):
    """Reads and writes all the time, at a pace that leaves the processors to the guests, and keeps the longest
    silence between two replies since it was last asked. It knows one Redis from the next (each start has a
    run_id), and calls it wrong when a former one answers again, or one has forgotten what it acknowledged."""

    def __init__(self, port, pace_ms=5.0):
        super().__init__(daemon=True)
        self.port = port
        self.pace_s = pace_ms / 1000.0
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.replies = 0
        self.connects = 0
        self.wrong = []
        self.incarnations = []  # run_id of each Redis that answered, the latest last
        self.acknowledged = 0   # the last number that the latest has confirmed to have
        self.last_reply_ms = now_ms()
        self.gap = (0.0, 0.0, 0.0)  # length, last reply before, first reply after

    def run(self):
        redis = None
        number = 0
        while not self.stopping.is_set():
            try:
                if redis is None:
                    redis = Redis(self.port)
                    self.meet(redis)
                    self.connects += 1
                number += 1
                if redis.do("SET", "client", number) != b"OK" or int(redis.do("GET", "client")) != number:
                    self.wrong.append(f"the value written as {number} was read as another")
                self.acknowledged = number
                self.replied()
            except (OSError, Failed) as error:
                if isinstance(error, Failed):
                    self.wrong.append(str(error))
                if redis:
                    redis.close()
                redis = None
            self.stopping.wait(self.pace_s)
        if redis:
            redis.close()

    def meet(self, redis):
        run_id = re.search(rb"run_id:(\w+)", redis.do("INFO", "server"))[1].decode()
        if self.incarnations and self.incarnations[-1] == run_id:
            known = int(redis.do("GET", "client") or 0)
            if known < self.acknowledged:
                self.wrong.append(f"Redis {run_id} acknowledged {self.acknowledged} and now has {known}")
            return
        if run_id in self.incarnations:
            self.wrong.append(f"Redis {run_id} answers again after another was started: two run at once")
        self.incarnations.append(run_id)
        self.acknowledged = 0

    def replied(self):
        at = now_ms()
        with self.lock:
            self.replies += 1
            if at - self.last_reply_ms > self.gap[0]:
                self.gap = (at - self.last_reply_ms, self.last_reply_ms, at)
            self.last_reply_ms = at

    def reset(self):
        with self.lock:
            self.gap = (0.0, 0.0, 0.0)

    def wait_reply(self, limit_s=30):
        """Until the next reply after now."""
        start, end = self.replies, time.monotonic() + limit_s
        while self.replies == start:
            if time.monotonic() > end:
                raise Failed(f"no reply at 127.0.0.1:{self.port} for {limit_s} s")
            self.stopping.wait(0.002)

    def outage_since(self, at_ms):
        """Milliseconds from `at_ms` to the first reply after the longest silence."""
        with self.lock:
            return self.gap[2] - at_ms if self.gap[2] > at_ms else 0.0

    def stop(self):
        self.stopping.set()
        self.join(timeout=70)


@contextlib.contextmanager
def pair(run_dir=None, up=Understudy.up, user=None, **options):
    """alpha serving Redis, beta its standby, and a client at work. Afterwards all is checked and ended."""
    port = free_port()
    with Understudy(redis_config(port, **options), run_dir=run_dir, user=user) as understudy:
        up(understudy)
        understudy.wait_protected()
        client = Client(port)
        client.start()
        client.wait_reply()
        understudy.port = port
        yield understudy, client
        understudy.end(client)
