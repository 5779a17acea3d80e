"""What a guest has besides areas: its kernel's own memory, limits, file systems. Several checks share one boot."""
import json

from harness import Client, Failed, Redis, Understudy, free_port, guests_config, redis_application

FILES_MIB = 40
# Waits to be told by Redis, then takes memory that only the kernel has: what stands in pipes, two for each process, as it
# may have no more than its share of those.
HOG = ("until [ \\\"$(redis-cli get go)\\\" = go ]; do sleep 0.2; done; redis-cli del go; "
       "i=0; while [ $i -lt 500 ]; do mknod /tmp/p$i p; head -c 65536 /dev/zero | "
       "{ head -c 65536 /dev/zero >&3; exec sleep 1000; } 3<>/tmp/p$i & i=$((i+1)); done; wait")
# One line, as an event shows the last one.
PROBE = ("echo from-fd > /dev/fd/1; echo $(cat /proc/sys/kernel/threads-max) $(cat /sys/fs/cgroup/pids.max) $(ulimit -u) "
         "$(cat /proc/sys/fs/file-max) "
         "$(df -Pk /tmp | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2) $(touch $HOME/it /var/it /run/it && echo writes) "
         "$(touch /it 2>/dev/null || echo read-only) $(test -c /dev/pts/ptmx && echo ptmx) > /dev/stdout; exit 1")


def script_application(name, text, guests, memory, extra=""):
    return f"""[[application]]
name = "{name}"
guests = {json.dumps(guests)}
memory = "{memory}"
minimum_memory = "{memory}"
start = ["/bin/sh", "-c", "{text}"]
ready = "health"
health = {{ kind = "process" }}
{extra}
"""


def config(port):
    text = guests_config(("alpha", "beta"), "2400 MiB")
    text += redis_application("redis", port, guests=("alpha", "beta"), memory="512 MiB", maxmemory="256mb").replace(
        'start = ["/usr/bin/redis-server", ',
        f'start = ["/bin/sh", "-c", "dd if=/dev/zero of=/tmp/fill bs=1M count={FILES_MIB} 2>/dev/null && exec redis-server $0 $@", ')
    text += script_application("hog", HOG, ["alpha"], "512 MiB",
                               'restart = { attempts = 1, window = "60 s", delay = "100 ms" }')
    return text + script_application("probe", PROBE, ["beta"], "32 MiB", "restart = { attempts = 0 }")


def check_probe(understudy):
    """Limits, file systems and names of /dev, as an application finds them."""
    said = [event["text"] for event in understudy.events()
            if event["kind"] == "app-faulted" and event.get("application") == "probe"]
    lines = said[0].partition("its last words: ")[2].splitlines() if said else []
    words = lines[1].split() if len(lines) > 1 and lines[0] == "from-fd" else []
    if len(words) != 8 or words[2] != "unlimited" or words[5:] != ["writes", "read-only", "ptmx"]:
        raise Failed(f"the probe found something else: {said}")
    threads, processes, files, tmp_kib = (int(word) for word in (words[0], words[1], words[3], words[4]))
    # What a kernel that boots with 128 MiB has: some 730 threads, 8192 files. Two applications share the processes.
    if not threads / 3 < processes < threads / 2 or threads < 1200 or files < 16384 or tmp_kib != 32 << 10:
        raise Failed(f"the limits are not those of its memory: {lines}")


def hangs(understudy):
    return any(event["kind"] == "guest-hung" for event in understudy.events())


def case_guest_memory():
    """The guest's kernel runs out of its base memory: said so, answered with no areas, and no fault of a neighbour's.
    What an application had written does not hold up its switchover."""
    # Now and then an emulated kernel looks for memory for seconds and answers nobody. That is a hang, which is taken over
    # as one, and another case's matter.
    if not any(runs_out_of_memory() for _ in range(4)):
        raise Failed("the guest hung each time that it had no memory")


def runs_out_of_memory():
    """False: it hung instead."""
    port = free_port()
    with Understudy(config(port)) as understudy:
        understudy.run("up", "-f", str(understudy.config), "--detach", check=False)  # the probe is made to fail
        understudy.wait_protected()
        understudy.wait_for(lambda _: understudy.app("hog")["state"] == "serving", "the hog serving")
        understudy.wait_for(lambda _: understudy.app("probe")["state"] == "failed", "the probe's word")
        check_probe(understudy)
        client = Client(port)
        client.start()
        client.wait_reply()
        areas = understudy.guest("alpha")["areas_bytes"]

        redis = Redis(port)
        redis.do("SET", "go", "go")
        redis.close()
        named = lambda event: event is not None and ("base_memory" in event["text"] or event["kind"] == "guest-hung")  # noqa: E731
        understudy.wait_for(named, "the guest out of base memory, named", limit_s=180)
        if hangs(understudy):
            understudy.run("down")
            return False
        understudy.wait_for(lambda _: understudy.app()["state"] == "serving", "Redis serving")
        client.wait_reply(60)
        if hangs(understudy):
            understudy.run("down")
            return False
        if understudy.guest("alpha")["areas_bytes"] != areas or understudy.guest("alpha")["run"] != 1:
            raise Failed(f"areas were given for what areas do not help: {understudy.guest('alpha')}")
        app = understudy.app()
        if (app["active"], app["epoch"]) != ("alpha", 1):
            raise Failed(f"a neighbour's use of the guest was counted against Redis: {app}")

        understudy.wait_protected()
        understudy.run("takeover", "redis")
        understudy.wait_for(lambda _: (understudy.app()["active"], understudy.app()["state"]) == ("beta", "serving"),
                            "Redis serving on beta")
        client.wait_reply()
        if understudy.guest("alpha")["run"] != 1:
            raise Failed("alpha was fenced: what Redis had written was still in its areas")
        understudy.end(client)
        return True
