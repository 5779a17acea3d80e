"""What somebody else on the host, or a QEMU that was taken over by its guest, tries: docs/threat-model.md."""
import contextlib
import ctypes
import os
import pathlib
import re
import resource
import select
import signal
import socket
import subprocess
import tempfile
import threading

from harness import (BUILD, MIB, Client, Failed, Redis, Skipped, Understudy, free_port, pair, processes_with,
                     redis_config, unused_uid)

STRANGER = 65533
PUNCH_HOLE, KEEP_SIZE = 2, 1
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
RESTRICTED_NAMESPACES = pathlib.Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


def need_root():
    if os.geteuid() != 0:
        raise Skipped("needs root: acts for several users")


def call(name, *arguments):
    """A function of the C library's that answers 0."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


def enter(where, kinds):
    """Namespaces of process `where`, but those that are ours already. What does it enters them later."""
    spaces = [os.open(f"/proc/{where}/ns/{kind}", os.O_RDONLY) for kind in kinds
              if os.readlink(f"/proc/{where}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")]
    return lambda: [call("setns", space, 0) for space in spaces]


def give_up_capabilities():
    call("capset", (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())


def as_user(uid, act, where=None):
    """What `act` returns (a text), done by a process of that user, in the place of process `where`: its file systems,
    its network, its System V objects, its users; with no capability, as a program has none there."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if where is not None:
                enter_users = enter(where, ["user"])
                enter(where, ["net", "ipc", "mnt"])()
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            if where is not None:
                enter_users()
                give_up_capabilities()
            said = act()
        except Exception as error:  # noqa: BLE001
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as text:
        said = text.read()
    os.waitpid(pid, 0)
    return said


def fallocate(descriptor, mode, offset, size):
    call("fallocate", descriptor, mode, ctypes.c_long(offset), ctypes.c_long(size))


def uid_of(pid):
    return pathlib.Path(f"/proc/{pid}").stat().st_uid


def tries(*attempts):
    """The names of those that are not refused."""
    done = []
    for name, attempt in attempts:
        with contextlib.suppress(OSError):
            attempt()
            done.append(name)
    return " ".join(done)


def case_tampered_areas():
    """From the uid of a guest's QEMU: no area of the other guest opens, no mode, owner or ACL of its own ones changes;
    what it does to their sizes and their memory is put right, and who comes next notices nothing."""
    need_root()
    with pair() as (understudy, client):
        areas = os.open(understudy.run_dir / "areas", os.O_PATH | os.O_DIRECTORY)
        mine = uid_of(understudy.qemu_pid("alpha"))
        names = sorted(os.listdir(understudy.run_dir / "areas"))

        def by_alpha():
            opened = []
            for name in names:
                with contextlib.suppress(OSError):
                    opened.append(os.open(name, os.O_RDWR, dir_fd=areas))
            could = tries(("mode", lambda: os.fchmod(opened[0], 0o666)), ("owner", lambda: os.fchown(opened[0], mine, mine)),
                          ("list", lambda: os.listdir(areas)))
            os.ftruncate(opened[-1], 4 * MIB)
            fallocate(opened[-2], PUNCH_HOLE | KEEP_SIZE, 0, 8 * MIB)
            fallocate(opened[-3], KEEP_SIZE, os.fstat(opened[-3]).st_size, 4 * MIB)
            return f"{len(opened)} {could}".strip()

        # Where everybody else can write, a QEMU cannot.
        places = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")
        said = as_user(mine, lambda: tries(*[(place, lambda place=place: tempfile.TemporaryFile(dir=place)) for place in places]),
                       understudy.qemu_pid("alpha"))
        if said:
            raise Failed(f"a QEMU's user could write to {said}")

        # A QEMU that loses pages which it uses ends (SIGBUS): the same as a guest that fails.
        client.reset()
        said = as_user(mine, by_alpha)
        if said != str(len(understudy.table_of_areas())):
            raise Failed(f"a QEMU's user could do more than open its areas: {said}")
        with contextlib.suppress(Failed):
            understudy.run("fault", "alpha", "--kind", "qemu-kill", check=False)
        understudy.wait_for(lambda _: understudy.app()["active"] == "beta" and understudy.app()["state"] == "serving",
                            "Redis serving on beta")
        client.wait_reply()
        said = [event["text"] for event in understudy.events() if event["kind"] == "area-repaired"]
        if not any("its size was" in text for text in said) or not any("given back to the host" in text for text in said):
            raise Failed(f"what was put right is not said: {said}")
        theirs = uid_of(understudy.qemu_pid("beta"))
        stats = [(understudy.run_dir / "areas" / name).stat() for name in names]
        wrong = [s for s in stats if s.st_uid != 0 or s.st_gid not in (0, theirs) or s.st_blocks * 512 != s.st_size]
        if wrong or len({s.st_size for s in stats}) != 1:
            raise Failed(f"areas are not as they should be: {wrong or stats}")
        said = as_user(mine, lambda: tries(*[(name, lambda name=name: os.open(name, os.O_RDONLY, dir_fd=areas)) for name in names]))
        if said:
            raise Failed(f"the former guest's user still opens {said}")
        os.close(areas)
        understudy.wait_protected()


def shares_network(pid):
    """Where the kernel or this user gives a QEMU no network of its own, its log says so."""
    return os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")


def may_make_networks(uid):
    if uid != 0 and RESTRICTED_NAMESPACES.exists() and RESTRICTED_NAMESPACES.read_text().strip() == "1":
        return False
    kinds = CLONE_NEWNET if uid == 0 else CLONE_NEWNET | CLONE_NEWUSER
    return as_user(uid, lambda: tries(("may", lambda: call("unshare", kinds)))) == "may"


def reach_through_the_network(understudy, client):
    """Nobody on the host connects to a guest's forwarded port. A QEMU that was taken over reaches nothing of the host's
    network, keeps nothing in System V memory, and does not look into the daemon."""
    qemu = understudy.qemu_pid("alpha")
    other, daemon = understudy.qemu_pid("beta"), understudy.daemon_pid()
    if shares_network(qemu):
        if may_make_networks(uid_of(daemon)):
            raise Failed("a QEMU is in the host's network")
        raise Skipped("this user may make no networks")
    log = (understudy.run_dir / "gateway.log").read_text()
    port = int(re.search(rf"redis: leads to 127\.0\.0\.1:(\d+) in the network of process {qemu},", log)[1])

    def connect(to):
        return lambda: socket.create_connection(("127.0.0.1", to), timeout=3)

    # The guest's own user on the host: an ordinary user's QEMU is his.
    for uid in (STRANGER, uid_of(qemu), 0):
        if said := as_user(uid, lambda: tries(("guest", connect(port)))):
            raise Failed(f"uid {uid} of the host could connect to the {said}'s port")

    def shared_memory():
        if ctypes.CDLL(None, use_errno=True).shmget(0, 1 * MIB, 0o1600) < 0:
            raise OSError(ctypes.get_errno(), "shmget")

    with socket.create_server(("127.0.0.1", 0)) as host:
        attempts = [("host", connect(host.getsockname()[1])), ("clients' address", connect(understudy.port)),
                    ("agents of others", lambda: socket.socket(socket.AF_UNIX).connect("\0understudy")),
                    ("the daemon's memory", lambda: os.open(f"/proc/{daemon}/mem", os.O_RDONLY)),
                    ("the other QEMU's", lambda: os.open(f"/proc/{other}/mem", os.O_RDONLY)),
                    ("the daemon's environment", lambda: os.open(f"/proc/{daemon}/environ", os.O_RDONLY))]
        if uid_of(daemon) == 0:  # an ordinary user sets no limit to it: what there is ends with QEMU
            attempts.append(("System V memory", shared_memory))
        if said := as_user(uid_of(qemu), lambda: tries(*attempts), qemu):
            raise Failed(f"a QEMU's user could have {said}")
    if os.readlink(f"/proc/{qemu}/ns/ipc") == os.readlink("/proc/self/ns/ipc"):
        raise Failed("a QEMU's System V memory outlives it")
    inside = as_user(uid_of(qemu), lambda: " ".join(name for _, name in socket.if_nameindex()), qemu)
    if inside != "lo":
        raise Failed(f"a QEMU's network has {inside}")
    client.wait_reply()


def case_network_of_its_own():
    need_root()
    with pair() as (understudy, client):
        reach_through_the_network(understudy, client)


def steal_port(understudy, client):
    """The daemon is down and a guest's QEMU ends: the port through which clients reached it is anybody's, on the host.
    Who takes it gets no client and no byte of one; the clients wait, and the next daemon takes the application over
    for them."""
    qemu = understudy.qemu_pid("alpha")
    shared = shares_network(qemu)
    log = (understudy.run_dir / "gateway.log").read_text()
    port = int(re.search(r"redis: leads to 127\.0\.0\.1:(\d+)", log)[1])
    understudy.kill_daemon()
    newcomer = Redis(understudy.port)  # served without a daemon
    newcomer.do("PING")
    newcomer.close()
    descriptor = os.pidfd_open(qemu)
    os.kill(qemu, signal.SIGKILL)
    select.select([descriptor], [], [])
    os.close(descriptor)
    ready, tell = os.pipe()
    stop, end = os.pipe()

    def pretend():
        os.close(end)
        taken = socket.create_server(("127.0.0.1", port))
        os.write(tell, b"x")
        heard, met = b"", 0
        while stop not in select.select([taken, stop], [], [])[0]:
            one, _ = taken.accept()
            met += 1
            one.settimeout(0.5)
            with contextlib.suppress(OSError):
                one.sendall(b"+OK\r\n" * 8)
            with contextlib.suppress(OSError):
                heard += one.recv(4096)
            one.close()
        return f"{met} {heard.decode(errors='replace')}"

    said = []
    thief = threading.Thread(target=lambda: said.append(as_user(STRANGER, pretend)))
    thief.start()
    os.read(ready, 1)
    with socket.create_connection(("127.0.0.1", understudy.port), timeout=3) as newcomer:
        newcomer.sendall(b"PING\r\n")
        with contextlib.suppress(TimeoutError):
            raise Failed(f"somebody answered in the application's name: {newcomer.recv(64)!r}")
    os.close(end)
    thief.join()
    met, _, heard = said[0].partition(" ")
    if not met.isdigit() or (met != "0") != shared or heard:
        raise Failed(f"the thief met {met} connections of the gateway and heard {heard!r}")
    understudy.up()
    understudy.wait_for(lambda _: understudy.app()["active"] == "beta" and understudy.app()["state"] == "serving",
                        "Redis serving on beta")
    client.wait_reply()
    understudy.wait_protected()


def case_stolen_port():
    need_root()
    with pair() as (understudy, client):
        steal_port(understudy, client)


def case_network_of_an_ordinary_user():
    """Both, where Understudy is not root's."""
    need_root()
    with pair(user=unused_uid()) as (understudy, client):
        reach_through_the_network(understudy, client)
        steal_port(understudy, client)


def case_gateway_killed():
    """The gateway is killed: until the next one nobody else can take the clients' address, and who connects is served
    by it."""
    with pair() as (understudy, client):
        for _ in range(3):
            gateway, = processes_with(f"--gateway\0{understudy.run_dir}")
            descriptor = os.pidfd_open(gateway)
            os.kill(gateway, signal.SIGKILL)
            select.select([descriptor], [], [])
            os.close(descriptor)
            with contextlib.suppress(OSError):
                socket.create_server(("127.0.0.1", understudy.port)).close()
                raise Failed("the clients' address was anybody's")
            early = Redis(understudy.port)  # not refused
            early.do("PING")
            early.close()
            client.wait_reply()
        understudy.wait_protected()
        said = [event["text"] for event in understudy.events() if event["kind"] == "gateway"]
        if not any("started again" in text for text in said):
            raise Failed(f"the gateway's end is not said: {said}")


def case_idle_clients():
    """Clients that connect and say nothing, more than a process has descriptors by custom: others are served beside
    them, and the next daemon finds a healthy guest."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192), most))
    with pair() as (understudy, client):
        idle = []
        for number in range(1500):
            one = socket.create_connection(("127.0.0.1", understudy.port), timeout=30)
            idle.append(one)
            if number % 50 == 0:  # no faster than they are led to Redis
                one.sendall(b"PING\r\n")
                if one.recv(7) != b"+PONG\r\n":
                    raise Failed(f"client {number} is not served")
        newcomer = Redis(understudy.port, limit_s=10)
        newcomer.do("PING")
        understudy.kill_daemon()
        understudy.up()
        understudy.wait_protected()
        client.wait_reply()
        if understudy.guest("alpha")["run"] != 1 or understudy.app()["epoch"] != 1:
            raise Failed(f"a healthy guest did not survive its clients: {understudy.guest('alpha')}")
        newcomer.do("PING")
        for one in idle:
            one.close()
        newcomer.close()


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return value


def meet_strangers(user=None):
    """What another user has put where an Understudy works: directories of its names, links, a run directory of his
    own. None of it is used, written to, deleted, or in the way."""
    port = free_port()
    with Understudy(redis_config(port), user=user) as understudy:
        understudy.base.chmod(0o755)
        # The names that earlier versions computed, in the place that everybody can write to.
        name = f"understudy-run-{fnv1a(str(understudy.run_dir)):016x}"
        bait = pathlib.Path("/dev/shm") / name

        def lay_bait():
            bait.mkdir(mode=0o700)
            (bait / "area-0000").write_bytes(b"")
            return "laid"

        if as_user(STRANGER, lay_bait) != "laid":
            raise Failed("the stranger could lay no bait")
        try:
            understudy.up()
            understudy.wait_protected()
            understudy.kill_daemon()
            understudy.up()
            understudy.wait_protected()
            client = Client(port)
            client.start()
            client.wait_reply()
            understudy.end(client)
            if sorted(path.name for path in bait.iterdir()) != ["area-0000"]:
                raise Failed("what a stranger had put there was touched")
        finally:
            subprocess.run(["rm", "-rf", str(bait)], check=True)

        # A run directory of his own, empty or made to look like ours, and one that he could exchange.
        his = understudy.base / "his"
        his.mkdir()
        os.chown(his, STRANGER, STRANGER)
        victim = understudy.base / "victim"
        victim.write_text("not the stranger's\n")
        os.chown(victim, understudy.config.stat().st_uid, -1)

        def disguise():
            (his / "understudy-run-dir").write_text("understudy run directory 1\nmade 1\n")
            (his / "understudyd.log").symlink_to(victim)
            (his / "journal").symlink_to(victim)
            return "disguised"

        for prepare in (lambda: "", disguise):
            as_user(STRANGER, prepare)
            for where in (his, his / "below"):
                for command in (["up", "-f", str(understudy.config), "--detach"], ["down"]):
                    done = subprocess.run([str(BUILD / "bin" / "understudy"), "--run-dir", str(where), *command],
                                          capture_output=True, text=True, timeout=60, check=False, **understudy.identity)
                    if done.returncode == 0:
                        raise Failed(f"a stranger's directory was used: {command} in {where}: {done.stdout}")
        if victim.read_text() != "not the stranger's\n" or (his / "below").exists():
            raise Failed("it wrote where a stranger had led it")


def case_strangers_on_the_host():
    need_root()
    meet_strangers()


def case_strangers_and_an_ordinary_user():
    need_root()
    meet_strangers(unused_uid())
