"""What stands around a takeover: maintenance, hooks, crash dumps."""
import json
import os
import pathlib
import signal
import socket
import struct
import threading
import time

from harness import MIB, Failed, Understudy, free_port, pair, redis_config
from os_faults import expect_takeover


def stopped_by_its_operator(understudy):
    """alpha's QEMU is stopped while the next daemon comes up: it is found, asked, and left alone until it goes on."""
    pid = understudy.qemu_pid("alpha")
    os.kill(pid, signal.SIGSTOP)
    up = threading.Thread(target=understudy.up)
    up.start()
    try:
        understudy.wait_daemon()

        def found(event):
            return event and event["kind"] == "guest-adopted" and "does not answer" in event["text"]

        understudy.wait_for(found, "alpha found, not answering")
        # Longer than any limit for a monitor, and than a hang takes to be confirmed: nothing may happen.
        time.sleep(5)
        if understudy.guest("alpha")["run"] != 1 or understudy.guest("alpha")["state"] not in ("suspect", "ready"):
            raise Failed(f"what its operator stopped in maintenance was not left alone: {understudy.guest('alpha')}")
    finally:
        os.kill(pid, signal.SIGCONT)
        up.join()
    understudy.wait_for(lambda _: understudy.guest("alpha")["state"] == "ready", "alpha answering again")
    if understudy.guest("alpha")["run"] != 1 or understudy.app()["epoch"] != 1:
        raise Failed(f"it did not just go on: {understudy.guest('alpha')}, {understudy.app()}")


def case_maintenance():
    """Under maintenance a killed QEMU moves nothing and everything says why; when it ends the takeover happens."""
    with pair() as (understudy, client):
        nobody = understudy.run("maintenance", "gamma", check=False)
        if nobody.returncode != 1 or "alpha, beta, redis" not in nobody.stderr:
            raise Failed(f"an unknown name is not explained: {nobody.stderr}")
        too_long = understudy.run("maintenance", "alpha", "--for", "25h", check=False)
        if too_long.returncode != 2 or "24 h" not in too_long.stderr:
            raise Failed(f"a day and an hour was not refused: {too_long.returncode} {too_long.stderr}")
        understudy.run("maintenance", "alpha", "--for", "30m")
        if not understudy.guest("alpha")["maintenance_until"]:
            raise Failed("status does not say until when")
        status = understudy.app()
        if status["protected"] or "maintenance" not in status["why"]:
            raise Failed(f"shown as protected although nothing would be moved: {status}")
        if "MAINTENANCE of alpha until" not in understudy.run("status").stdout:
            raise Failed("a person is not shown the maintenance")

        # The next daemon knows of it.
        until = understudy.guest("alpha")["maintenance_until"]
        understudy.kill_daemon()
        stopped_by_its_operator(understudy)
        if not understudy.guest("alpha")["maintenance_until"] or understudy.guest("alpha")["maintenance_until"][:16] < until[:16]:
            raise Failed(f"the next daemon forgot it: until {until}, now {understudy.guest('alpha')['maintenance_until']}")
        client.wait_reply()

        os.kill(understudy.qemu_pid("alpha"), signal.SIGKILL)

        def rebuilt(_):
            return understudy.guest("alpha")["run"] == 2 and understudy.guest("alpha")["state"] == "ready"

        understudy.wait_for(rebuilt, "alpha booted again")
        kinds = [event["kind"] for event in understudy.events()]
        for kind in ("maintenance-begun", "guest-exited", "takeover-waits"):
            if kind not in kinds:
                raise Failed(f"no event says {kind}: {kinds}")
        status = understudy.app()
        if (status["state"], status["epoch"]) != ("waiting", 1) or "maintenance alpha --end" not in status["trouble"]:
            raise Failed(f"redis was moved, or its state does not say why not: {status}")
        understudy.check_table()

        understudy.run("maintenance", "alpha", "--end")
        understudy.wait_for(lambda _: understudy.app()["state"] == "serving", "Redis serving after maintenance")
        client.wait_reply()
        if understudy.app()["epoch"] != 2:
            raise Failed(f"redis was not started exactly once: {understudy.app()}")
        again = understudy.run("maintenance", "alpha", "--end", check=False)
        if again.returncode != 1 or "not in maintenance" not in again.stderr:
            raise Failed(f"ending what is over is not explained: {again.stderr}")
        understudy.wait_protected()

        # It ends by itself, and an order is not held up by it.
        understudy.run("maintenance", "redis", "--for", "2 s")
        understudy.wait_for(lambda event: event and event["kind"] == "maintenance-expired", "its time being up")
        understudy.wait_protected()
        source = understudy.app()["active"]
        understudy.run("maintenance", source)
        understudy.run("takeover", "redis")
        understudy.wait_for(lambda _: understudy.app()["state"] == "serving" and understudy.app()["active"] != source,
                            "Redis moved off the guest in maintenance")
        client.wait_reply()


def case_hooks():
    """Commands are run on events, and neither one that hangs nor one that fails delays a takeover."""
    port = free_port()
    with Understudy(redis_config(port)) as base:
        out = base.base / "hooked"
        out.mkdir()
        text = redis_config(port, extra=f"""
[[hook]]
on = ["takeover-done"]
command = ["/bin/sh", "-c", "cat > {out}/input; echo $UNDERSTUDY_EVENT $UNDERSTUDY_APPLICATION $UNDERSTUDY_GUEST > {out}/done"]
[[hook]]
on = ["takeover-begun"]
command = ["/bin/sh", "-c", "echo begun >> {out}/begun; exec sleep 1000"]
limit = "3 s"
[[hook]]
on = ["guest-panicked"]
command = ["/no/such/program"]
""")
        base.config.write_text(text)
        base.up()
        base.wait_protected()
        base.run("fault", "alpha", "--kind", "os-panic")
        failures = []

        def both_failed(event):
            if event and event["kind"] == "hook-failed":
                failures.append(event["text"])
            return len(failures) == 2

        base.wait_for(both_failed, "both bad hooks reported")
        if not any("cannot be run: No such file" in failure for failure in failures):
            raise Failed(f"a missing program is not explained: {failures}")
        if not any("killed: it ran for more than 3 s" in failure for failure in failures):
            raise Failed(f"a hook that hangs is not explained: {failures}")
        kinds = [event["kind"] for event in base.events()]
        if kinds.index("takeover-done") > len(kinds) - 1 - kinds[::-1].index("hook-failed"):
            raise Failed(f"the takeover waited for the hook: {kinds}")
        if (out / "done").read_text().split() != ["takeover-done", "redis", "beta"]:
            raise Failed(f"the variables are wrong: {(out / 'done').read_text()}")
        event = json.loads((out / "input").read_text())
        if event not in base.events() or event["kind"] != "takeover-done":
            raise Failed(f"standard input is not the event: {event}")
        base.wait_protected()
        base.down()
        base.check_nothing_left()


def elf_core_bytes(path):
    """Checks that it is an ELF core of x86-64 with memory in it; returns how many bytes of memory."""
    with path.open("rb") as file:
        head = file.read(64)
        kind, machine = struct.unpack_from("<HH", head, 16)
        if head[:4] != b"\x7fELF" or head[4] != 2 or kind != 4 or machine != 62:
            raise Failed(f"{path} is no ELF core of x86-64: {head[:20]!r}")
        offset, = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        total, notes = 0, 0
        for i in range(count):
            file.seek(offset + i * size)
            kind, _, start, _, physical, in_file, in_memory, _ = struct.unpack("<IIQQQQQQ", file.read(56))
            notes += kind == 4
            if kind != 1:
                continue
            if physical + in_memory > 128 * MIB:
                raise Failed(f"{path} has memory at {physical:#x}, beyond the base memory")
            if start + in_file > path.stat().st_size:
                raise Failed(f"{path} is shorter than its headers say")
            total += in_file
        if notes != 1:
            raise Failed(f"{path} has no notes with the registers")
        file.seek(0)
        if b"Linux version " not in file.read():
            raise Failed(f"{path} is not the memory of a Linux")
        return total


def case_crash_dump():
    """A guest that panicked is written to a file after the takeover, and comes back as the standby."""
    with pair(extra='[dumps]\nkeep = 1\n', dumps=True) as (understudy, client):
        directory = understudy.base / "dumps"

        def panic(source, target):
            expect_takeover(understudy, client, lambda: understudy.run("fault", source, "--kind", "os-panic"), source, target)
            kinds = [(e["kind"], e.get("guest")) for e in understudy.events()]
            if kinds.count(("dump", source)) != 1 or any(kind == "no-dump" for kind, _ in kinds):
                raise Failed(f"no event says that {source} was written: {kinds}")
            ready = len(kinds) - 1 - kinds[::-1].index(("guest-ready", source))
            done = next(i for i, (kind, guest) in enumerate(kinds) if kind == "takeover-done" and guest == target)
            if not done < kinds.index(("dump", source)) < ready:
                raise Failed(f"the dump was not between the takeover and the next boot: {kinds}")
            files = list(directory.iterdir())
            if len(files) != 1 or not files[0].name.startswith(source + "-"):
                raise Failed(f"not one dump of {source}: {files}")
            if files[0].stat().st_mode & 0o777 != 0o600:
                raise Failed(f"others may read {files[0]}")
            memory = elf_core_bytes(files[0])
            if not 120 * MIB <= memory <= 128 * MIB or files[0].stat().st_size > 130 * MIB:
                raise Failed(f"{files[0]} has {memory} bytes of memory in {files[0].stat().st_size}")
            return files[0]

        first = panic("alpha", "beta")
        second = panic("beta", "alpha")
        if first.exists() or not second.exists():
            raise Failed("keep = 1 did not leave the newest")


def status_of(pid):
    """The lines of /proc/PID/status, by their names."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def can_reach(path):
    try:
        if path.endswith(".sock"):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(path)
        else:
            os.close(os.open(path, os.O_RDONLY))
    except PermissionError:
        return False
    return True


def reached_by(user, paths):
    """Those of the paths that a process of this user can open or connect to."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.chdir("/")
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        os.write(writing, " ".join(path for path in paths if can_reach(path)).encode() + b"\n")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        reached = answer.read()
    os.waitpid(child, 0)
    if not reached.endswith("\n"):
        raise Failed(f"the attempts of user {user} were not made to their end")
    return reached.split()


def case_unprivileged_qemu():
    """When the daemon is root, each guest's QEMU has a user of its own, which reaches its own areas and nothing else."""
    with pair() as (understudy, client):
        def user_of(guest):
            status = status_of(understudy.qemu_pid(guest))
            ids = set(status["Uid"] + status["Gid"])
            if len(ids) != 1:
                raise Failed(f"the QEMU of {guest} has several users: {status['Uid']} {status['Gid']}")
            if os.geteuid() == 0 and (set(status["CapPrm"]) != {"0000000000000000"} or status["NoNewPrivs"] != ["1"] or status["Groups"]):
                raise Failed(f"the QEMU of {guest} may do more than it needs: {status}")
            return int(ids.pop())

        users = {guest: user_of(guest) for guest in ("alpha", "beta")}
        if os.geteuid() != 0:
            if set(users.values()) != {os.geteuid()}:
                raise Failed(f"without root, QEMUs run as somebody else: {users}")
            return
        if 0 in users.values() or users["alpha"] == users["beta"]:
            raise Failed(f"QEMUs run as root, or as the same user: {users}")

        def check_owners():
            """Each area's file is root's, and opens to the group of the guest that has it alone."""
            rows = [row for row in understudy.check_table()["rows"] if row["id"].startswith("area-")]
            for row in rows:
                info = (understudy.run_dir / "areas" / row["id"]).stat()
                group = users.get(row["attached_to"], 0)
                if (info.st_uid, info.st_gid, info.st_mode & 0o777) != (0, group, 0o660 if group else 0o600):
                    raise Failed(f"{row} is a file of uid {info.st_uid}, gid {info.st_gid}, mode {info.st_mode:o}")
            return {row["attached_to"] for row in rows}

        def check_reach(guest):
            """The guest's user, outside of any QEMU, reaches nothing."""
            paths = [str(path) for path in understudy.run_dir.rglob("*") if not path.is_dir()] + [str(understudy.run_dir)]
            if not any(path.endswith("control.sock") for path in paths):
                raise Failed(f"there is no control socket to try: {paths}")
            reached = reached_by(users[guest], paths)
            if reached:
                raise Failed(f"{guest}'s user reaches {reached}")

        if "alpha" not in check_owners():
            raise Failed("alpha has no area")
        check_reach("beta")
        expect_takeover(understudy, client, lambda: os.kill(understudy.qemu_pid("alpha"), signal.SIGKILL), "alpha", "beta")
        if "alpha" in check_owners() or user_of("alpha") != users["alpha"]:
            raise Failed("alpha has areas still, or another user than before")
        check_reach("alpha")
        # The next daemon goes on with both.
        understudy.kill_daemon()
        understudy.up()
        understudy.wait_protected()
        check_owners()
        expect_takeover(understudy, client, lambda: understudy.run("fault", "beta", "--kind", "os-panic"), "beta", "alpha")
        check_owners()
        # A planned switchover takes them from a living QEMU.
        understudy.run("takeover", "redis")
        understudy.wait_for(lambda _: understudy.app()["active"] == "beta" and understudy.app()["state"] == "serving",
                            "Redis serving on beta")
        client.wait_reply()
        understudy.wait_protected()
        check_owners()
