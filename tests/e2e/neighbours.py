"""What an ordinary application of the standby tries against the one that is to be taken over there."""
from harness import Client, Failed, Understudy, free_port, guests_config, redis_application

# Tries to listen at Redis's port, forks until it cannot, and waits for Redis, which it knows by its port: with what a
# shell has built in, as it can start nothing any more. Then it looks for Redis's process, sends signals to every number
# that there may be, which ends what it has forked, looks for sockets that it can write to, says it all and ends.
THIEF = r"""
mknod /tmp/wait p
timeout 20 redis-server --port 6379 --bind 0.0.0.0 --save "" > /tmp/bind 2>&1
grep -q "bind: Operation not permitted" /tmp/bind && bind=refused || bind=$(tail -n 1 /tmp/bind)
read pids < /sys/fs/cgroup/pids.max
(n=0; while sleep 1000 & do n=$((n+1)); echo $n > /tmp/forks; done) 2> /dev/null
read forks < /tmp/forks
echo tried > /tmp/done
until [ -n "$there" ]; do
  read -t 1 nothing <> /tmp/wait
  while read -r number local other state rest; do
    [ "${local#*:} $state" = "18EB 0A" ] && there=yes
  done < /proc/net/tcp
done
seen=
for process in /proc/[0-9]*; do
  name=; { read -r name < $process/comm; } 2> /dev/null
  [ "$name" = redis-server ] && seen="$seen$name,"
  [ "$name" = redis-server ] && { read -r secret < $process/environ && seen="$seen$secret,"; } 2> /dev/null
done
for signal in STOP KILL; do
  n=1; while [ $n -lt 4000 ]; do [ $n = $$ ] || kill -$signal $n; n=$((n+1)); done 2> /dev/null
  kill -$signal -1
done 2> /dev/null
sockets=$(find /run /tmp /var /dev /home -type s | tr '\n' ,)
echo "port $bind, forks $forks of $pids, saw <$seen>, sockets <$sockets>"
exit 1
"""


def thief():
    return f"""[[application]]
name = "thief"
guests = ["beta"]
memory = "256 MiB"
start = ["/bin/sh", "-c", '''{THIEF}''']
start_limit = "300 s"
health = {{ kind = "exec", command = ["/bin/sh", "-c", "test -s /tmp/done"], limit = "30 s", interval = "1 s", failures = 30 }}
restart = {{ attempts = 0 }}
"""


def case_neighbours():
    """An application in the standby, under the same user, takes all processes that it can get, and reaches for the port,
    the environment, the processes and the notify socket of the other: which is taken over at the first attempt all the
    same, says itself that it is ready, loses no secret and is not disturbed."""
    port = free_port()
    config = guests_config(("alpha", "beta"), "1600 MiB") + redis_application(
        "redis", port, guests=("alpha", "beta"), memory="512 MiB", maxmemory="256mb",
        extra='environment = { SECRET = "hush" }') + thief()
    with Understudy(config) as understudy:
        understudy.up(limit_s=400)
        understudy.wait_for(lambda _: understudy.app("thief")["state"] == "serving", "the thief at its limit", limit_s=400)
        understudy.wait_protected()
        client = Client(port)
        client.start()
        client.wait_reply()
        understudy.run("fault", "alpha", "--kind", "os-panic")
        understudy.wait_for(lambda _: understudy.app()["active"] == "beta" and understudy.app()["state"] == "serving",
                            "Redis serving on beta")
        client.wait_reply()
        connects = client.connects
        understudy.wait_for(lambda _: understudy.app("thief")["state"] == "failed", "the thief's word")
        client.wait_reply()
        if understudy.app()["epoch"] != 2:
            raise Failed(f"the takeover took more than one attempt: {understudy.app()}")
        said = [event["text"] for event in understudy.events()
                if event["kind"] == "app-faulted" and event.get("application") == "thief"]
        words = said[0].partition("port ")[2].split() if said else []
        if len(words) != 9 or words[0] != "refused," or words[6] != "<>," or words[8] != "<>":
            raise Failed(f"it got what is not its own: {said}")
        forks, most = int(words[2]), int(words[4].rstrip(","))
        if not most / 2 < forks < most:
            raise Failed(f"it had {forks} processes of {most}: {said}")
        if "was refused more" not in said[0]:
            raise Failed(f"that it was refused more processes is not said: {said}")
        restarted = [event for event in understudy.events() if event["kind"] == "app-restarting"]
        if restarted or client.connects != connects:
            raise Failed(f"Redis was disturbed: {restarted}, {client.connects - connects} more connections")
        understudy.wait_protected()
        understudy.end(client)
