"""The application fails while its OS lives."""
import contextlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import tempfile
import threading

from harness import (MIB, NO_RESTART, Client, Failed, Redis, Understudy, free_port, guests_config, pair, processes_with,
                     redis_application, redis_config, root_application)


def serving_again(understudy, epoch, guest):
    def met(event):
        app = understudy.app()
        return app["state"] == "serving" and app["active"] == guest and app["epoch"] == epoch
    return met


class Newcomers(threading.Thread):
    """Clients that come while Redis is being restarted in place: from the moment that the event says so, each of them
    waits and is served. None is led there and reset."""

    def __init__(self, understudy):
        super().__init__(daemon=True)
        self.understudy = understudy
        self.resets = []
        self.served = 0
        self.start()

    def run(self):
        with subprocess.Popen(self.understudy.command("events", "--follow", "--json"), stdout=subprocess.PIPE,
                              text=True) as follower:
            restarting = len([e for e in self.understudy.events() if e["kind"] == "app-restarting"])
            seen = 0
            for line in follower.stdout:
                seen += json.loads(line)["kind"] == "app-restarting"
                if seen > restarting:
                    break
            for _ in range(20):
                try:
                    newcomer = Redis(self.understudy.port)
                    newcomer.do("PING")
                    newcomer.close()
                    self.served += 1
                except OSError as error:
                    self.resets.append(str(error))
            follower.terminate()

    def check(self):
        self.join(timeout=60)
        if self.is_alive() or self.resets or self.served != 20:
            raise Failed(f"clients that came during a restart in place: {self.served} served, reset: {self.resets}")


def up_from_somewhere_odd(understudy):
    """`understudy up`, by a starter that ignores and blocks signals, has few descriptors, an umask that lets everybody
    in, a working directory that is gone, a timer that is about to end it, and an environment full of garbage."""
    gone = tempfile.mkdtemp()

    def be_odd():
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.SIGRTMAX + 1))
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        os.umask(0)
        os.nice(10)
        os.chdir(gone)
        os.rmdir(gone)
        signal.setitimer(signal.ITIMER_REAL, 5)

    garbage = {"LC_ALL": "garbage", "TMPDIR": "/nowhere", "MALLOC_ARENA_MAX": "x", "LD_PRELOAD": ""}
    done = subprocess.run(understudy.command("up", "-f", str(understudy.config), "--detach"), preexec_fn=be_odd,
                          env={**os.environ, **garbage}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120, check=False)
    if done.returncode != 0:
        raise Failed(f"up from somewhere odd: exit status {done.returncode}\n{done.stdout}{done.stderr}{understudy.log()}")


def send_every_signal(pid, answers):
    """Those that people and scripts send to daemons, and that mean nothing to ours."""
    numbers = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF,
               signal.SIGIO, signal.SIGPWR, signal.SIGXCPU, signal.SIGXFSZ, signal.SIGPIPE, signal.SIGWINCH,
               signal.SIGURG, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT, signal.SIGCHLD,
               *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)]
    for number in numbers:
        os.kill(pid, number)
    answers()
    if not pathlib.Path(f"/proc/{pid}").exists():
        raise Failed(f"a signal ended process {pid}")


def case_restart_in_place():
    """A recoverable fault: restarted where it is, under the same epoch; nothing moves, and who comes meanwhile waits.
    All of it started by somebody with odd signals, limits and directories, and bothered with every signal."""
    with pair(up=up_from_somewhere_odd) as (understudy, client):
        gateway = processes_with(f"--gateway\0{understudy.run_dir}")
        for pid in (understudy.daemon_pid(), *gateway):
            send_every_signal(pid, understudy.status)
        client.wait_reply()
        said = [event["text"] for event in understudy.events() if event["kind"] == "daemon-signal"]
        if len(gateway) != 1 or not any(text.startswith("SIGHUP means nothing to understudyd") for text in said):
            raise Failed(f"a signal was not said: {said}, gateways {gateway}")
        for kind in ("app-exit", "app-hang"):
            newcomers = Newcomers(understudy)
            client.reset()
            before = len([e for e in understudy.events() if e["kind"] == "app-restarting"])
            understudy.run("fault", "redis", "--kind", kind)
            understudy.wait_for(
                lambda event: len([e for e in understudy.events() if e["kind"] == "app-restarting"]) > before
                and understudy.app()["state"] == "serving", f"Redis restarted after {kind}")
            client.wait_reply()
            newcomers.check()
        status = understudy.app()
        if status["active"] != "alpha" or status["epoch"] != 1:
            raise Failed(f"a recoverable fault moved the application: {status}")


# Root in alpha: from the word `go` on, Redis's disk hardly answers. A process that reads from it is in state D, and no
# signal ends it. The cgroups of others are out of an application's sight, root's too; what the kernel starts for a core
# dump sees the guest as its init does, and the one that dumps by its number there (%P).
STALLED_DISK = ("until redis-cli ping; do sleep 0.2; done; redis-cli blpop go 0; "
                "echo 'cd /sys/fs/cgroup; echo +io > cgroup.subtree_control; "
                "echo +io > understudy/cgroup.subtree_control; "
                "echo $(cat /sys/block/vda/dev) rbps=2 > understudy/app-redis/io.max; "
                "cat understudy/app-redis/io.max > /proc/$1/root/tmp/stalled' > /tmp/stall; "
                "echo '|/bin/busybox sh /proc/%P/root/tmp/stall %P' > /proc/sys/kernel/core_pattern; "
                "sh -c 'kill -SEGV $$'; redis-cli set stalled \\\"$(cat /tmp/stalled)\\\"; sleep 100000")


def case_stalled_disk():
    """Redis hangs in its guest's kernel (state D) and cannot be ended there: it leaves its address, its guest is fenced,
    and it is taken over. Nothing of it is served by anybody meanwhile."""
    port = free_port()
    config = redis_config(port, pool="1792 MiB", start_extra=("--enable-module-command", "yes")).replace(
        'health = { kind = "tcp", port = 6379, interval = "500 ms", limit = "1 s", failures = 3 }',
        'health = { kind = "exec", command = ["/usr/bin/redis-cli", "ping"], interval = "500 ms", limit = "2 s", failures = 2 }')
    with Understudy(config + root_application(STALLED_DISK)) as understudy:
        understudy.up()
        understudy.wait_protected()
        redis = Redis(port)
        redis.do("LPUSH", "go", "now")
        while not redis.do("GET", "stalled"):
            redis.do("BLPOP", "nothing", 1)
        # A program on the disk that nobody has read yet.
        redis.send(("MODULE", "LOAD", "/usr/lib/postgresql/15/bin/postgres"))
        understudy.wait_for(lambda _: understudy.app()["state"] == "restarting", "Redis killed, and not ended yet")
        client = Client(port)
        client.start()  # waits, and is led to nobody that does not answer
        understudy.wait_for(serving_again(understudy, 2, "beta"), "Redis serving on beta")
        client.wait_reply()
        cause = understudy.ask("report", "redis")["cause"]
        if "redis does not end on alpha" not in cause or "(redis-server, state D)" not in cause:
            raise Failed(f"the report does not say why: {cause}")
        if client.connects != 1:
            raise Failed(f"a client that waited was reset: {client.connects} connections")
        understudy.wait_protected()
        understudy.end(client)


def case_app_fault_moves():
    """An unrecoverable fault of a hot standby job, its OS alive: its areas leave the living OS, the guest stays."""
    with pair(restart=NO_RESTART) as (understudy, client):
        client.reset()
        client.wait_reply()
        understudy.run("fault", "redis", "--kind", "app-exit")
        understudy.wait_for(serving_again(understudy, 2, "beta"), "Redis serving on beta")
        client.wait_reply()
        report = understudy.ask("report", "redis")
        if report["from"] != "alpha" or report["bytes_moved"] < 512 * MIB:
            raise Failed(f"the report is of something else: {report}")
        if next(p["ms"] for p in report["phases"] if p["name"] == "detach") <= 0:
            raise Failed(f"nothing was detached from a living OS: {report}")
        if understudy.guest("alpha")["run"] != 1:
            raise Failed("alpha was fenced although its OS let go of the memory")
        if understudy.guest("alpha")["areas_bytes"] != 0:
            raise Failed("alpha kept areas")
        understudy.wait_protected()


def case_not_a_hot_standby_job():
    """Without hot standby an application fault moves nothing: its areas become unused, and it is shown as failed."""
    port = free_port()
    with Understudy(redis_config(port, guests=("solo",), pool="1312 MiB", restart=NO_RESTART)) as understudy:
        understudy.up()
        understudy.run("fault", "redis", "--kind", "app-exit")
        understudy.wait_for(lambda _: understudy.app()["state"] == "failed", "Redis given up")
        rows = understudy.check_table()["rows"]
        areas = [row for row in rows if row["id"].startswith("area-")]
        if not areas or any(row["use"] != "unused" for row in areas):
            raise Failed(f"its areas are not unused: {areas}")
        if "killed by" not in understudy.app()["trouble"]:
            raise Failed(f"the reason is not shown: {understudy.app()}")
        understudy.run("start", "redis")
        understudy.wait_for(serving_again(understudy, 2, "solo"), "Redis started again by the operator")
        understudy.down()
        understudy.check_nothing_left()


def case_segmentation_fault():
    """A SIGSEGV, with restarts spent: reported with the signal and the application's last words, and taken over."""
    with pair(restart=NO_RESTART) as (understudy, client):
        client.reset()
        understudy.run("fault", "redis", "--kind", "app-crash")
        understudy.wait_for(serving_again(understudy, 2, "beta"), "Redis serving on beta")
        client.wait_reply()
        cause = understudy.ask("report", "redis")["cause"]
        if "SIGSEGV" not in cause:
            raise Failed(f"the report does not name the signal: {cause}")
        said = [event["text"] for event in understudy.events() if event["kind"] == "app-faulted"]
        if not said or "its last words: " not in said[0] or len(said[0].split("its last words: ")[1]) < 100:
            raise Failed(f"what Redis said of its end is not told: {said}")


def case_stopped_application():
    """A SIGSTOP: nothing ends, nothing answers; its health check fails, and it moves, certainly ended first."""
    with pair(restart=NO_RESTART) as (understudy, client):
        understudy.run("fault", "redis", "--kind", "app-hang")
        understudy.wait_for(serving_again(understudy, 2, "beta"), "Redis serving on beta")
        client.wait_reply()
        if understudy.guest("alpha")["run"] != 1:
            raise Failed("alpha was fenced although only its application hung")
        understudy.wait_protected()


def grows_where_it_is(fill, **more):
    """Redis gets more memory from the VMM, and is started again where it is, when `fill` (which is given a
    connection) has made it run out of what it has."""
    options = {"memory": "256 MiB", "minimum": "256 MiB", "maxmemory": "0", "extra": 'maximum_memory = "768 MiB"'}
    with pair(**options, **more) as (understudy, client):
        before = understudy.guest("alpha")["areas_bytes"]
        with contextlib.suppress(OSError):  # it is killed in the middle
            fill(Redis(understudy.port))
            raise Failed("all of it fitted into 256 MiB")
        understudy.wait_for(lambda _: understudy.guest("alpha")["areas_bytes"] > before
                            and understudy.app()["state"] == "serving", "Redis serving with more memory")
        client.wait_reply()
        app = understudy.app()
        if (app["active"], app["epoch"], understudy.guest("alpha")["run"]) != ("alpha", 1, 1):
            raise Failed(f"it moved instead of growing: {app}")
        understudy.wait_protected()


def case_out_of_memory():
    """The kernel kills it in its own cgroup."""
    grows_where_it_is(lambda redis: redis.do("DEBUG", "POPULATE", 400_000, "key", 1000),
                      start_extra=("--enable-debug-command", "yes"))


def case_crawling_at_its_limit():
    """The kernel does not kill it: it finds pages of its program to drop, and reads them in again, for minutes."""
    def fill(redis):
        for number in range(240):
            redis.do("SETRANGE", f"large:{number}", MIB - 1, "x")
        for number in range(16_384):
            redis.do("SETRANGE", f"small:{number}", 4095, "x")

    grows_where_it_is(fill)


def case_release_limit():
    """The living OS does not let go of the memory in time: its guest is fenced, and all of it moves."""
    with pair(restart=NO_RESTART, extra='release_limit = "10 ms"') as (understudy, client):
        understudy.run("fault", "redis", "--kind", "app-exit")
        understudy.wait_for(lambda _: understudy.app()["active"] == "beta" and understudy.app()["state"] == "serving",
                            "Redis serving on beta")
        client.wait_reply()
        understudy.wait_protected()
        if understudy.guest("alpha")["run"] != 2 or understudy.guest("beta")["areas_bytes"] != 1024 * MIB:
            raise Failed("alpha was not fenced, or kept something")


def case_unreachable_application():
    """One application listens on its guest's loopback alone, another turns strangers away: neither is ever called
    serving or protected, no client is led there, and the reason is said where somebody looks."""
    loopback, strangers = free_port(), free_port()
    options = {"guests": ("solo",), "memory": "256 MiB", "minimum": "128 MiB", "maxmemory": "64mb"}
    config = guests_config(("solo",), "800 MiB")
    config += redis_application("loopback", loopback, inside=6379, **options).replace("0.0.0.0", "127.0.0.1")
    config += redis_application("strangers", strangers, inside=6380, **options).replace('"--protected-mode", "no"',
                                                                                         '"--protected-mode", "yes"')
    expected = {"loopback": "let it listen on 0.0.0.0", "strangers": "-DENIED Redis is running in protected mode"}
    with Understudy(config) as understudy:
        # No later than it is known does `up` return, and says so.
        up = understudy.run("up", "-f", str(understudy.config), "--detach", check=False)
        if up.returncode == 0:
            raise Failed(f"up says that all is well: {up.stdout}")
        understudy.wait_for(lambda _: all(understudy.app(name)["state"] == "unreachable" for name in expected),
                            "both shown as unreachable")
        for name, reason in expected.items():
            app = understudy.app(name)
            said = [event["text"] for event in understudy.events()
                    if event["kind"] == "app-unreachable" and event["application"] == name]
            if app["protected"] or reason not in app["trouble"] or not said or reason not in said[0]:
                raise Failed(f"the reason is not said: {app}, {said}")
        if any(event["kind"] == "app-serving" for event in understudy.events()):
            raise Failed("an application that no client can reach was called serving")
        with Redis(loopback, limit_s=1).socket as waiting:
            waiting.settimeout(1)
            with contextlib.suppress(TimeoutError):
                raise Failed(f"a client was led there: {waiting.recv(1)}")
        understudy.down()
        understudy.check_nothing_left()
