"""The guest's OS or its QEMU fails; the application goes on in the other guest."""
import contextlib
import os
import pathlib
import signal

from harness import (MIB, Failed, Redis, Understudy, free_port, guests_config, load_keys, now_ms, pair,
                     redis_application, redis_config, root_application)


def expect_takeover(understudy, client, strike, source, target):
    """Strikes, and checks everything that is promised of a takeover from one guest to the other."""
    before = understudy.check_table()
    areas = sorted(r["id"] for r in before["rows"] if r["attached_to"] == source and r["id"].startswith("area-"))
    if not areas:
        raise Failed(f"{source} has no areas before the fault\n{understudy.run('events').stdout}")
    run_before = understudy.guest(source)["run"]
    epoch_before = understudy.app()["epoch"]
    client.reset()
    client.wait_reply()
    began = now_ms()
    strike()
    understudy.wait_for(lambda _: understudy.app()["active"] == target and understudy.app()["state"] == "serving",
                        f"Redis serving on {target}")
    client.wait_reply()
    if client.outage_since(began) <= 0:
        raise Failed("the client noticed nothing: the fault was not real")
    after = understudy.check_table()
    moved = sorted(r["id"] for r in after["rows"] if r["attached_to"] == target and r["id"].startswith("area-"))
    if moved != areas:
        raise Failed(f"not the same areas moved: {areas} were {source}'s, {target} has {moved}")
    report = understudy.ask("report", "redis")
    if (report["from"], report["to"], report["result"]) != (source, target, "serving"):
        raise Failed(f"the report is of something else: {report}")
    if report["bytes_moved"] != len(areas) * 128 * MIB or report["bytes_zeroed"] or report["bytes_copied"]:
        raise Failed(f"the bytes of the move are wrong: {report}")
    if [p["name"] for p in report["phases"]] != ["detect", "fence", "detach", "attach", "online", "start", "serving"]:
        raise Failed(f"the phases are not those that scripts rely on: {report}")
    understudy.wait_protected()
    if understudy.guest(source)["run"] != run_before + 1:
        raise Failed(f"{source} was not launched once again: {understudy.guest(source)}")
    if understudy.app()["epoch"] != epoch_before + 1:
        raise Failed(f"redis was not started exactly once: {understudy.app()}")
    understudy.check_table()
    return report


def case_panic():
    with pair() as (understudy, client):
        load_keys(understudy.port, 20_000)
        report = expect_takeover(understudy, client, lambda: understudy.run("fault", "alpha", "--kind", "os-panic"),
                                 "alpha", "beta")
        if "panic" not in report["cause"]:
            raise Failed(f"the cause is not the panic: {report['cause']}")
        # And the same way back, to the guest that has just been rebuilt.
        expect_takeover(understudy, client, lambda: understudy.run("fault", "beta", "--kind", "os-panic"), "beta", "alpha")


def case_qemu_killed():
    with pair() as (understudy, client):
        pid = understudy.qemu_pid("alpha")
        expect_takeover(understudy, client, lambda: os.kill(pid, signal.SIGKILL), "alpha", "beta")


def case_hang_of_qemu():
    with pair() as (understudy, client):
        pid = understudy.qemu_pid("alpha")
        report = expect_takeover(understudy, client, lambda: os.kill(pid, signal.SIGSTOP), "alpha", "beta")
        if "hang" not in report["cause"]:
            raise Failed(f"the cause is not the hang: {report['cause']}")
        kinds = [event["kind"] for event in understudy.events()]
        if kinds.index("guest-suspected") > kinds.index("guest-hung"):
            raise Failed("the hang was not suspected before it was confirmed")


# Root in alpha, who does nothing before it is told to by way of Redis: says what sleep it is offered, then sets an
# alarm and suspends its OS to memory.
SUSPENDS = ("until redis-cli ping; do sleep 0.2; done; redis-cli blpop go 0; "
            'redis-cli lpush offered \\"$(cat /sys/power/mem_sleep)\\"; redis-cli blpop go 0; '
            "echo +4 > /sys/class/rtc/rtc0/wakealarm; echo mem > /sys/power/state; redis-cli lpush refused yes; "
            "exec sleep 100000")


def states_of_threads(pid):
    """By thread; X for one that the kernel is taking apart, whatever it does meanwhile (PF_EXITING)."""
    states = {}
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            states[task.name] = "X" if int(fields[6]) & 4 else fields[0]
    return states


def case_guest_that_suspends_itself():
    """Stopped is not asleep: a guest that wakes by an alarm of its clock never runs beside its successor."""
    port = free_port()
    config = redis_config(port, pool="1792 MiB") + root_application(SUSPENDS)
    with Understudy(config) as understudy:
        understudy.up()
        understudy.wait_protected()
        pid = understudy.qemu_pid("alpha")
        redis = Redis(port)
        redis.do("LPUSH", "go", "now")
        offered = redis.do("BRPOPLPUSH", "offered", "said", 60)
        if not offered or b"deep" in offered:
            raise Failed(f"alpha is offered a suspension to memory from which it wakes by itself: {offered}")
        redis.do("LPUSH", "go", "now")
        redis.close()
        understudy.wait_for(lambda _: understudy.app()["active"] == "beta" and understudy.app()["state"] == "serving",
                            "Redis serving on beta")
        # Its alarm comes about now. Its process is stopped, or it is gone.
        states = states_of_threads(pid)
        if set(states.values()) - {"T", "Z", "X"}:
            raise Failed(f"alpha's former QEMU is not stopped: {states}")
        understudy.wait_protected()
        fenced = [e["text"] for e in understudy.events() if e["kind"] == "guest-fenced"]
        if len(fenced) != 1 or "alpha" not in fenced[0]:
            raise Failed(f"not alpha alone was fenced, once: {fenced}")
        if "every thread" not in fenced[0] and "SIGKILL" not in fenced[0]:
            raise Failed(f"QEMU's word alone was enough: {fenced}")
        understudy.check_table()
        understudy.end()


def case_silent_agent():
    """An agent that stops beating while its kernel lives: suspected, asked, and left alone."""
    with pair() as (understudy, client):
        client.reset()
        understudy.run("fault", "alpha", "--kind", "agent-silence")
        seen = set()

        def recovered(event):
            if event and event.get("guest") == "alpha":
                seen.add(event["kind"])
            return "guest-answers" in seen

        understudy.wait_for(recovered, "alpha's agent answering again")
        if "agent-silent" not in seen and "guest-suspected" not in seen:
            raise Failed(f"the silence was not noticed: {seen}")
        kinds = {event["kind"] for event in understudy.events()}
        if kinds & {"guest-fenced", "guest-hung", "takeover-begun"}:
            raise Failed(f"a guest was fenced though its kernel lives: {kinds}")
        status = understudy.app()
        if status["active"] != "alpha" or status["epoch"] != 1:
            raise Failed(f"redis was moved or restarted: {status}")
        client.wait_reply()


def case_standby_killed():
    """The standby dies: the application never notices, and is shown as unprotected until it is back."""
    with pair() as (understudy, client):
        pid = understudy.qemu_pid("beta")
        unprotected = []

        def back(_):
            status = understudy.app()
            if not status["protected"]:
                unprotected.append(status["why"])
            return bool(unprotected) and status["protected"]

        os.kill(pid, signal.SIGKILL)
        understudy.wait_for(back, "beta back as the standby")
        if not any("beta" in why for why in unprotected):
            raise Failed(f"not shown as unprotected because of beta: {unprotected}")
        if understudy.app()["epoch"] != 1:
            raise Failed("redis was restarted")
        client.wait_reply()


def case_takeover_storm():
    """Whatever takes over fails, too: after so many takeovers within the window it is given up, which is said, and
    goes on when the operator says so."""
    with pair(flap='{ takeovers = 2, window = "10 min" }') as (understudy, client):
        for _ in range(2):
            active = understudy.app()["active"]
            understudy.run("fault", active, "--kind", "os-panic")
            understudy.wait_for(lambda _, active=active: understudy.app()["active"] not in (None, active),
                                "Redis on the other guest")
            understudy.wait_for(lambda _: all(understudy.guest(g)["state"] == "ready" for g in ("alpha", "beta")),
                                "both guests being ready")
            understudy.wait_for(lambda _: understudy.app()["state"] == "serving", "Redis serving")
        # One more would end it, so that it is protected no more: that is said before it happens.
        if understudy.app()["protected"] or "would be given up" not in understudy.app()["why"]:
            raise Failed(f"the next takeover would end it, and this is said instead: {understudy.app()}")
        understudy.run("fault", understudy.app()["active"], "--kind", "os-panic")
        understudy.wait_for(lambda _: understudy.app()["state"] == "failed", "the storm being ended")
        trouble = understudy.app()["trouble"]
        if "takeovers" not in trouble or not [e for e in understudy.events() if e["kind"] == "app-failed"]:
            raise Failed(f"it does not say why: {trouble}")
        if understudy.app()["protected"] or any(understudy.guest(g)["areas_bytes"] for g in ("alpha", "beta")):
            raise Failed("it is given up, and not all of it is")
        understudy.run("start", "redis")
        understudy.wait_protected()
        client.wait_reply()


CULPRIT = """[[application]]
name = "culprit"
guests = ["alpha", "beta"]
memory = "64 MiB"
hot_standby = true
user = "root"
start = ["/bin/sh", "-c", "sleep 10; echo c > /proc/sysrq-trigger"]
health = { kind = "process" }
flap = { takeovers = 1, window = "10 min" }
"""


def case_panicking_neighbour():
    """Root in an application makes each guest panic a while after it was started there. Redis, which shares them, is the
    first to be given up, because it stands last in the file. A guest fails without it: it is served again, and the
    culprit is what stays given up."""
    port = free_port()
    flap = '{ takeovers = 1, window = "10 min" }'
    config = guests_config(("alpha", "beta"), "1600 MiB") + CULPRIT + redis_application(
        "redis", port, guests=("alpha", "beta"), memory="512 MiB", maxmemory="256mb", flap=flap)
    with Understudy(config) as understudy:
        understudy.up()
        understudy.wait_for(lambda _: understudy.app()["state"] == "failed", "Redis given up with it", limit_s=90)
        trouble = understudy.app()["trouble"]
        if "culprit failed with it" not in trouble:
            raise Failed(f"it is not said that it may be innocent: {trouble}")
        understudy.wait_for(lambda _: understudy.app("culprit")["state"] == "failed", "the culprit found", limit_s=60)
        understudy.wait_protected()
        client = Redis(port)
        client.send(("PING",))
        if client.reply() != b"PONG":
            raise Failed("Redis does not answer")
        client.close()
        if not [e for e in understudy.events() if e["kind"] == "app-taken-back" and e.get("application") == "redis"]:
            raise Failed("that it was taken back is not said")
