"""A rehearsal proves that a takeover would work, and hurts nobody: not the clients, not the data, not a takeover."""
import json
import subprocess

from harness import MIB, Client, Failed, Redis, Understudy, free_port, guests_config, now_ms

AREAS = 8   # what Redis makes do with; where there are more it takes one more
SPARE = 10
# The data directory remembers every start; Redis says how many there were (maxclients). What has no eth0 is isolated,
# and takes its time, so that there is a middle of its start.
START = ("ifconfig eth0 >/dev/null 2>&1 || sleep 10; echo start >> /tmp/starts; "
         "exec /usr/bin/redis-server --bind 0.0.0.0 --protected-mode no --port 6379 --save '' --appendonly no "
         "--maxmemory 768mb --supervised systemd --maxclients $((100 + $(wc -l < /tmp/starts)))")
SLOW_MS = 3000  # without a fault, a client of an emulated guest waits so long on an overloaded machine at worst


def config(port, spare=SPARE):
    pool = 2 * (128 + 160) + (AREAS + spare) * 128
    return guests_config(("alpha", "beta"), f"{pool} MiB") + f"""[[application]]
name = "redis"
guests = ["alpha", "beta"]
memory = "1 GiB"
minimum_memory = "512 MiB"
hot_standby = true
start = ["/bin/sh", "-c", "{START}"]
ready = "notify"
address = {{ listen = "127.0.0.1:{port}", port = 6379, wait_limit = "60 s" }}
health = {{ kind = "tcp", port = 6379, interval = "500 ms", limit = "1 s", failures = 3 }}
flap = {{ takeovers = 0 }}
"""


def starts_seen(port):
    redis = Redis(port)
    redis.send(("CONFIG", "GET", "maxclients"))
    redis.line()  # a list of two
    name, value = redis.reply(), redis.reply()
    redis.close()
    if name != b"maxclients":
        raise Failed(f"Redis answered {name} {value}")
    return int(value) - 100


def expect_proven(understudy, what, on):
    proven = understudy.app()["proven"]
    if (proven["state"], proven.get("what"), proven.get("on")) != ("proven", what, on):
        raise Failed(f"not proven by {what} on {on}: {proven}")


def areas_of(understudy, user):
    """Areas of that user; None: unused ones."""
    rows = understudy.check_table()["rows"]
    return len([r for r in rows if r["id"].startswith("area-") and r["user"] == user])


def expect_passed(understudy, done, on, start):
    rehearsal = done["rehearsal"]
    if not rehearsal["passed"] or (rehearsal["on"], rehearsal["start"]) != (on, start):
        raise Failed(f"the rehearsal did not pass: {rehearsal}")
    if rehearsal["bytes"] != areas_of(understudy, "redis") * 128 * MIB:
        raise Failed(f"not all that Redis may use was attached: {rehearsal}")
    phases = {phase["name"]: phase["ms"] for phase in rehearsal["phases"]}
    if phases["attach"] <= 0 or phases["online"] <= 0 or (phases["start"] > 0) != start:
        raise Failed(f"the phases are not those of a rehearsal: {phases}")


def expect_taken_back(understudy, guest, total_bytes):
    left, unused, used = (areas_of(understudy, user) for user in ("redis (rehearsal)", None, "redis"))
    if left or unused != AREAS + SPARE - used or understudy.guest(guest)["areas_bytes"] != 0:
        raise Failed(f"the rehearsal left something behind: {left}, {unused} unused, {understudy.guest(guest)}")
    end = now_ms() + 10_000  # the agent's next look at its memory
    while understudy.guest(guest).get("total_bytes") != total_bytes:
        if now_ms() > end:
            raise Failed(f"MemTotal of {guest} was {total_bytes} and is {understudy.guest(guest)}")


def rehearse_unnoticed(understudy, client, active, standby):
    """With and without its start, while clients notice nothing."""
    total_bytes = understudy.guest(standby)["total_bytes"]
    epoch = understudy.app()["epoch"]
    client.reset()
    connects = client.connects
    expect_passed(understudy, understudy.ask("rehearse", "redis"), standby, False)
    expect_taken_back(understudy, standby, total_bytes)
    expect_proven(understudy, "attach", standby)
    expect_passed(understudy, understudy.ask("rehearse", "redis", "--start"), standby, True)
    expect_taken_back(understudy, standby, total_bytes)
    expect_proven(understudy, "start", standby)
    client.wait_reply()
    if client.connects != connects or client.gap[0] > SLOW_MS:
        raise Failed(f"clients noticed: {client.connects - connects} lost connections, {client.gap[0]:.0f} ms without a reply")
    app = understudy.app()
    if (app["active"], app["epoch"], app["protected"]) != (active, epoch, True):
        raise Failed(f"Redis did not just go on: {app}")
    if f"ago (start, {standby})" not in understudy.run("status").stdout:
        raise Failed("the status does not show what is proven")


def panic_in_the_middle(understudy, client, active, standby):
    """The active guest panics while the rehearsal is being started on the standby: Redis is there as soon as ever, and alone."""
    rehearsal = subprocess.Popen(understudy.command("rehearse", "redis", "--start", "--json"), stdout=subprocess.PIPE, text=True)

    def being_started(_):
        rows = [r for r in understudy.ask("table")["rows"] if r["user"] == "redis (rehearsal)"]
        return bool(rows) and all(r["state"] == "engaged" for r in rows)

    end = now_ms() + 30_000
    while not being_started(None):
        if now_ms() > end:
            raise Failed(f"the rehearsal never came to its start\n{understudy.log()}")
    before = {guest["name"]: guest["run"] for guest in understudy.status()["guests"]}
    epoch = understudy.app()["epoch"]
    client.reset()
    began = now_ms()
    understudy.run("fault", active, "--kind", "os-panic")
    understudy.wait_for(lambda _: understudy.app()["active"] == standby and understudy.app()["state"] == "serving",
                        f"Redis serving on {standby}")
    client.wait_reply()
    said = json.loads(rehearsal.communicate(timeout=30)[0])
    if rehearsal.returncode != 1 or said["rehearsal"]["passed"] or "is on its way" not in said["rehearsal"]["why"]:
        raise Failed(f"the rehearsal was not ended: {rehearsal.returncode} {said}")
    outage_ms = client.outage_since(began)
    if not 0 < outage_ms < 6000:
        raise Failed(f"the takeover waited for a rehearsal: {outage_ms:.0f} ms")
    if starts_seen(understudy.port) != 1:
        raise Failed(f"the rehearsal touched the data directory: {starts_seen(understudy.port)} starts")
    understudy.wait_protected()
    runs = {guest["name"]: guest["run"] for guest in understudy.status()["guests"]}
    if runs != {**before, active: before[active] + 1} or understudy.app()["epoch"] != epoch + 1:
        raise Failed(f"Redis was not started exactly once, on the guest that was there: {runs} {understudy.app()}")
    print(f"  outage with a rehearsal under way: {outage_ms:.0f} ms")


def case_rehearse():
    port = free_port()
    with Understudy(config(port)) as understudy:
        understudy.up()
        understudy.wait_protected()
        understudy.port = port
        client = Client(port)
        client.start()
        client.wait_reply()
        active, standby = understudy.app()["active"], understudy.app()["standby"]
        if starts_seen(port) != 1 or understudy.app()["proven"]["state"] != "never":
            raise Failed(f"not as it was brought up: {starts_seen(port)} starts, {understudy.app()['proven']}")
        rehearse_unnoticed(understudy, client, active, standby)
        # What was proven outlives the daemon.
        understudy.kill_daemon()
        understudy.up()
        understudy.wait_protected()
        expect_proven(understudy, "start", standby)
        panic_in_the_middle(understudy, client, active, standby)
        # And back: the guest that has just been rebuilt is rehearsed in its turn.
        expect_passed(understudy, understudy.ask("rehearse", "redis", "--start"), active, True)
        expect_proven(understudy, "start", active)
        understudy.end(client)


def case_rehearsal_refused():
    """Without unused memory there is nothing to rehearse with: refused at once, with what to do."""
    with Understudy(config(free_port(), spare=0)) as understudy:
        understudy.up()
        understudy.wait_protected()
        for words, expected in ((("redis",), "raise memory of [pool] by 128 MiB"), (("nobody",), "no application is called")):
            refused = understudy.run("rehearse", *words, check=False)
            if refused.returncode != 1 or expected not in refused.stderr:
                raise Failed(f"rehearse {words}: {refused.returncode} {refused.stderr}")
        if understudy.app()["proven"]["state"] != "never":
            raise Failed("something was proven by a refusal")
        understudy.down()
        understudy.check_nothing_left()
