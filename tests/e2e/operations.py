"""What an operator does: planned switchover, down after a crash of the daemon, refusing addresses."""
import contextlib
import os
import pathlib
import resource
import select
import signal
import socket
import subprocess
import time

from harness import Failed, Understudy, free_port, now_ms, pair, redis_config


def case_switchover():
    with pair() as (understudy, client):
        for target in ("beta", "alpha"):
            understudy.run("takeover", "redis")
            understudy.wait_for(lambda _: understudy.app()["active"] == target and understudy.app()["state"] == "serving",
                                f"Redis serving on {target}")
            client.wait_reply()
            report = understudy.ask("report", "redis")
            if report["cause"] != "planned switchover" or report["to"] != target:
                raise Failed(f"the report is of something else: {report}")
            understudy.wait_protected()
        runs = {guest["name"]: guest["run"] for guest in understudy.status()["guests"]}
        if runs != {"alpha": 1, "beta": 1}:
            raise Failed(f"a planned switchover needed a fence: {runs}")


def case_down_after_crash():
    """The daemon is killed: guests and applications go on, and `down` still finds and ends everything."""
    port = free_port()
    with Understudy(redis_config(port)) as understudy:
        understudy.up()
        understudy.wait_protected()
        qemus = [understudy.qemu_pid("alpha"), understudy.qemu_pid("beta")]
        understudy.kill_daemon()
        for pid in qemus:
            if not pathlib.Path(f"/proc/{pid}").exists():
                raise Failed("a guest ended with the daemon")
        understudy.down()
        understudy.check_nothing_left()


def case_refused_while_down():
    """while_down = "refuse": a client is turned away at once while nobody serves, and served afterwards."""
    with pair(while_down="refuse") as (understudy, client):
        understudy.run("fault", "alpha", "--kind", "os-panic")
        refused = 0
        end = now_ms() + 30_000
        while now_ms() < end:
            try:
                with socket.create_connection(("127.0.0.1", understudy.port), timeout=5) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(16).startswith(b"+PONG"):
                        if refused:
                            break
                        continue
                    refused += 1
            except OSError:
                refused += 1
        else:
            raise Failed(f"never both refused and served again ({refused} refusals)")
        understudy.wait_protected()
        client.wait_reply()


def case_second_daemon():
    """A second daemon in the same run directory refuses, and harms nothing."""
    with pair() as (understudy, client):
        again = understudy.run("up", "-f", str(understudy.config), "--detach", check=False)
        if again.returncode != 1 or "already running" not in again.stderr:
            raise Failed(f"a second up was not refused: {again.returncode} {again.stderr}")
        client.wait_reply()
        # Nor does a `down` with a mistyped directory say that all is ended: it says where it is.
        mistyped = subprocess.run([*understudy.command()[:1], "--run-dir", f"{understudy.run_dir}x", "down"],
                                  capture_output=True, text=True, check=False)
        if mistyped.returncode != 1 or f"`understudy --run-dir {understudy.run_dir} down`" not in mistyped.stderr:
            raise Failed(f"down of a mistyped directory: {mistyped.returncode} {mistyped.stdout}{mistyped.stderr}")
        client.wait_reply()


def case_out_of_descriptors():
    """The daemon has one descriptor left, and strangers wait at its socket: a takeover works all the same."""
    with pair() as (understudy, client):
        pid = understudy.daemon_pid()
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        with contextlib.ExitStack() as strangers:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (1 + max(map(int, os.listdir(f"/proc/{pid}/fd"))), before[1]))
            for _ in range(100):
                stranger = strangers.enter_context(socket.socket(socket.AF_UNIX))
                stranger.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    stranger.connect(str(understudy.run_dir / "control.sock"))
            asked = understudy.run("status", check=False)
            if asked.returncode != 1 or "no descriptors to spare" not in asked.stderr:
                raise Failed(f"not refused with its reason: {asked.returncode} {asked.stdout}{asked.stderr}")
            client.reset()
            struck_ms = now_ms()
            os.kill(understudy.qemu_pid("alpha"), signal.SIGKILL)
            client.wait_reply(limit_s=60)
            if client.outage_since(struck_ms) <= 0:
                raise Failed("the client noticed nothing: the fault was not real")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        understudy.wait_protected()
        if understudy.app()["active"] != "beta":
            raise Failed(f"Redis does not serve on beta: {understudy.app()}")


def case_daemon_killed():
    """The daemon is killed: clients are served all the while, and the next one resumes and takes over as before."""
    with pair() as (understudy, client):
        pids = [understudy.qemu_pid("alpha"), understudy.qemu_pid("beta")]
        client.reset()
        understudy.kill_daemon()
        client.wait_reply()
        understudy.up()
        understudy.wait_protected()
        if [understudy.qemu_pid("alpha"), understudy.qemu_pid("beta")] != pids:
            raise Failed("a guest was launched again")
        app = understudy.app()
        if (app["epoch"], app["active"]) != (1, "alpha"):
            raise Failed(f"Redis was started again or moved: {app}")
        client.wait_reply()
        if client.gap[0] > 5000:
            raise Failed(f"clients waited {client.gap[0]:.0f} ms for a daemon that they do not need")
        understudy.run("fault", "alpha", "--kind", "os-panic")
        understudy.wait_for(lambda _: understudy.app()["active"] == "beta" and understudy.app()["state"] == "serving",
                            "Redis serving on beta")
        client.wait_reply()
        understudy.wait_protected()


def case_daemon_stopped():
    """The daemon is not let run for longer than any silence is tolerated. When it goes on, nobody is suspected of what
    it did not see, and what really failed meanwhile is taken over."""
    with pair() as (understudy, client):
        daemon = understudy.daemon_pid()
        client.reset()
        os.kill(daemon, signal.SIGSTOP)
        end = time.monotonic() + 17  # the limit of an agent's silence is 15 s
        while time.monotonic() < end:
            client.wait_reply()
        os.kill(daemon, signal.SIGCONT)
        understudy.wait_for(lambda _: "daemon-late" in {e["kind"] for e in understudy.events()}, "it being noticed")
        understudy.wait_protected()
        wrong = {e["kind"] for e in understudy.events()} & {"guest-suspected", "guest-fencing", "takeover-begun"}
        if wrong or understudy.app()["epoch"] != 1 or client.gap[0] > 5000:
            raise Failed(f"somebody had to answer for it: {wrong}, {understudy.app()}, {client.gap[0]:.0f} ms")

        os.kill(daemon, signal.SIGSTOP)
        alpha = os.pidfd_open(understudy.qemu_pid("alpha"))
        signal.pidfd_send_signal(alpha, signal.SIGKILL)
        select.select([alpha], [], [])
        os.close(alpha)
        os.kill(daemon, signal.SIGCONT)
        understudy.wait_for(lambda _: understudy.app()["active"] == "beta" and understudy.app()["state"] == "serving",
                            "Redis serving on beta")
        client.wait_reply()
        understudy.wait_protected()


def case_fault_while_daemon_is_dead():
    """A guest panics while no daemon runs: the next daemon finds out and takes over."""
    with pair() as (understudy, client):
        understudy.kill_daemon()
        os.kill(understudy.qemu_pid("alpha"), signal.SIGKILL)
        understudy.up()
        understudy.wait_for(lambda _: understudy.app()["active"] == "beta" and understudy.app()["state"] == "serving",
                            "Redis serving on beta")
        client.wait_reply()
        understudy.wait_protected()


def vcpus_of(understudy, guest):
    """How many vCPUs of Redis are in the guest, as QEMU says; and no row of the table contradicts it."""
    status = understudy.guest(guest)
    rows = [r for r in understudy.check_table()["vcpus"] if r["use"] == "application" and r["attached_to"] == guest]
    if sum(r["vcpus"] for r in rows) != status["application_vcpus"]:
        raise Failed(f"the table and the status differ about the vCPUs of {guest}: {rows}, {status}")
    return status["application_vcpus"]


def case_vcpus():
    """vCPUs follow their application: into the guest where it serves, online there; out of the guest it leaves.
    Under TCG, QEMU cannot unplug one: it is kept by the guest, said to be, and there for the way back."""
    def settled(active, standby, left=0, says=True):
        def met(_):
            return (understudy.app()["active"] == active and understudy.app()["state"] == "serving"
                    and (vcpus_of(understudy, active), vcpus_of(understudy, standby)) == (1, left))
        understudy.wait_for(met, f"Redis serving on {active} with its vCPU, and {left} of it in {standby}")
        # The guest's own word: its kernel has two online.
        if says:
            understudy.wait_for(lambda _: said_online(active) > 0, f"two vCPUs online in {active}")

    def said_online(guest):
        return len([e for e in understudy.events()
                    if e["kind"] == "agent-says" and e.get("guest") == guest and "online now: 0-1" in e["text"]])

    with pair(extra="vcpus = 1\n") as (understudy, client):
        settled("alpha", "beta")
        rows = {r["id"]: r for r in understudy.check_table()["vcpus"]}
        mine = rows["vcpus-alpha-redis"]
        if (mine["user"], mine["attached_to"], mine["takeover_target"], mine["state"]) != ("redis", "alpha", "beta", "plugged"):
            raise Failed(f"the row of Redis's vCPU is wrong: {mine}")
        if rows["vcpus-beta"]["vcpus"] != 1 or rows["vcpus-beta"]["use"] != "os":
            raise Failed(f"the row of beta's base is wrong: {rows['vcpus-beta']}")
        kept = 1 if understudy.status()["accelerator"].lower() == "tcg" else 0
        understudy.run("takeover", "redis")
        settled("beta", "alpha", left=kept)
        if kept:
            understudy.wait_for(lambda _: any(e["kind"] == "vcpus-kept" and "TCG" in e["text"] for e in understudy.events()),
                                "why alpha keeps the vCPU")
            row = next(r for r in understudy.check_table()["vcpus"] if r["id"] == "vcpus-alpha-redis")
            if (row["state"], row["wanted"], row["takeover_target"]) != ("kept", 0, None) and row["state"] != "unplugging":
                raise Failed(f"the row of a kept vCPU is wrong: {row}")
        client.wait_reply()
        understudy.wait_protected()
        runs = {guest["name"]: guest["run"] for guest in understudy.status()["guests"]}
        if runs != {"alpha": 1, "beta": 1}:
            raise Failed(f"a vCPU cost a guest: {runs}")
        # A daemon that is started again knows from QEMU whose they are.
        understudy.kill_daemon()
        client.wait_reply()
        understudy.up()
        understudy.wait_protected()
        if (vcpus_of(understudy, "beta"), vcpus_of(understudy, "alpha")) != (1, kept):
            raise Failed(f"after the daemon's restart: {understudy.status()['guests']}")
        understudy.run("fault", "beta", "--kind", "os-panic")
        settled("alpha", "beta", says=not kept)  # one that stayed has been online all along
        client.wait_reply()
        understudy.wait_protected()
        # Its successor is a new machine: nothing of Redis is in it.
        if vcpus_of(understudy, "beta") != 0 or understudy.guest("beta")["run"] != 2:
            raise Failed(f"beta after its panic: {understudy.guest('beta')}")
        if understudy.guest("alpha")["run"] != 1:
            raise Failed("alpha was not the same guest all along")
