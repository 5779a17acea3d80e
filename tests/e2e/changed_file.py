"""The file was changed and the daemon started again: what runs goes on as what it is."""
import re

from harness import Failed, Redis, Understudy, free_port, guests_config, redis_application

GUESTS = ("alpha", "beta")


def server_of(redis):
    info = redis.do("INFO", "server")
    return {key: re.search(key.encode() + rb":(\w+)", info)[1].decode() for key in ("run_id", "tcp_port")}


def server_at(port):
    redis = Redis(port)
    try:
        return server_of(redis)
    finally:
        redis.close()


def outdated(understudy):
    return {guest["name"]: [each["what"] for each in guest["differs"]] for guest in understudy.status()["guests"]}


def original(port, other_port):
    return (guests_config(GUESTS, "1600 MiB") +
            redis_application("redis", port, guests=GUESTS, memory="384 MiB", minimum="384 MiB", maxmemory="64mb") +
            redis_application("cache", other_port, guests=GUESTS, memory="256 MiB", minimum="256 MiB",
                              maxmemory="64mb", inside=6400))


def changed(port, other_port):
    """Another order, more slots, another port of redis inside its guest, and the two outer ports exchanged."""
    guests = guests_config(GUESTS[::-1], "1600 MiB").replace('overhead = "160 MiB"\n', 'overhead = "160 MiB"\nslots = 20\n')
    return (guests +
            redis_application("cache", port, guests=GUESTS, memory="256 MiB", minimum="256 MiB", maxmemory="64mb",
                              inside=6400) +
            redis_application("redis", other_port, guests=GUESTS, memory="384 MiB", minimum="384 MiB",
                              maxmemory="64mb", inside=6390))


def case_changed_file():
    port, other_port = free_port(), free_port()
    with Understudy(original(port, other_port)) as understudy:
        understudy.up()
        for app in ("redis", "cache"):
            understudy.wait_protected(app)
        redis, cache = Redis(port), Redis(other_port)
        redis.do("SET", "kept", "yes")
        before = server_of(redis)["run_id"], server_of(cache)["run_id"]
        pids = [understudy.qemu_pid(guest) for guest in GUESTS]

        understudy.kill_daemon()
        understudy.config.write_text(changed(port, other_port))
        understudy.up()
        for app in ("redis", "cache"):
            understudy.wait_protected(app)
        if [understudy.qemu_pid(guest) for guest in GUESTS] != pids:
            raise Failed("a guest did not outlive a change of the file")
        if (redis.do("GET", "kept"), server_of(cache)["run_id"]) != (b"yes", before[1]):
            raise Failed("a connection did not go on")
        if (server_at(other_port)["run_id"], server_at(port)["run_id"]) != before:
            raise Failed("the two addresses did not change places")
        redis.close()
        cache.close()
        for guest, what in outdated(understudy).items():
            if what != ["slots", "forwarded ports"]:
                raise Failed(f"{guest} is outdated in {what}")
        text = understudy.run("status").stdout
        if text.count("OUTDATED: ") != 2 or "forwarded ports: 6400 for cache, 6379 for redis, now" not in text:
            raise Failed(f"status does not say what is outdated:\n{text}")
        events = [event for event in understudy.events() if event["kind"] == "guest-outdated"]
        if sorted(event["guest"] for event in events) != list(GUESTS):
            raise Failed(f"said otherwise than once for each guest: {events}")

        # A guest of the older definition starts redis as it was made for it.
        understudy.run("takeover", "redis")
        understudy.wait_protected()
        if understudy.app()["active"] != "beta" or server_at(other_port)["tcp_port"] != "6379":
            raise Failed(f"redis was not started on beta as before: {understudy.app()}")

        # Started anew, alpha is of the present file, and so is what starts there.
        run = understudy.guest("alpha")["run"]
        understudy.run("fault", "alpha", "--kind", "qemu-kill")

        def started_anew(_):
            alpha = understudy.guest("alpha")
            return alpha["run"] > run and alpha["state"] == "ready"

        understudy.wait_for(started_anew, "alpha started anew")
        for app in ("redis", "cache"):
            understudy.wait_protected(app)
        if outdated(understudy)["alpha"]:
            raise Failed(f"alpha is still outdated: {outdated(understudy)}")
        understudy.run("takeover", "redis")
        understudy.wait_protected()
        if understudy.app()["active"] != "alpha" or server_at(other_port)["tcp_port"] != "6390":
            raise Failed(f"redis does not run as the file says now: {understudy.app()}")

        check_refusal(understudy)
        understudy.end()


def check_refusal(understudy):
    """What runs and is not in the file any more is refused, and nothing is touched."""
    pids = [understudy.qemu_pid(guest) for guest in GUESTS]
    understudy.kill_daemon()
    whole = understudy.config.read_text()
    understudy.config.write_text(re.sub(r'\[\[application\]\]\nname = "cache".*?(?=\[\[application\]\])', "", whole, flags=re.S))
    refused = understudy.run("up", "-f", str(understudy.config), "--detach", check=False)
    said = refused.stdout + refused.stderr
    if refused.returncode != 1 or not re.search(rf"{understudy.config}:\d+:\d+: application \"cache\" is not in the file", said):
        raise Failed(f"not refused in words: {refused.returncode} {said}")
    if [understudy.qemu_pid(guest) for guest in GUESTS] != pids:
        raise Failed("a guest did not outlive a refusal")
    understudy.config.write_text(whole)
    understudy.up()
    for app in ("redis", "cache"):
        understudy.wait_protected(app)
    if [understudy.qemu_pid(guest) for guest in GUESTS] != pids:
        raise Failed("a guest did not outlive the restart after a refusal")
