"""Root in a guest gives away what the guest was given: docs/threat-model.md, "What is shown is compared with what is"."""
from harness import Client, Failed, Redis, Understudy, free_port, redis_config, root_application

# Each time that it is told to by way of Redis, it ejects the first DIMM that is there; its kernel takes that offline
# first, or refuses, which it does now and then while pages of it are busy.
EJECTS = ("until redis-cli ping; do sleep 0.2; done; while true; do redis-cli blpop go 0; "
          "for slot in /sys/bus/acpi/devices/PNP0C80:*; do "
          '[ \\"$(cat $slot/status 2>/dev/null)\\" = 15 ] && break; done; '
          "echo 1 > $slot/eject; redis-cli lpush said $slot; done")


def areas_in(understudy, guest):
    return {row["id"] for row in understudy.table_of_areas() if row["attached_to"] == guest}


def lost(understudy):
    return [event for event in understudy.events() if event["kind"] == "area-lost"]


def case_ejected_areas():
    """The table says it within seconds, the event names guest, area and application, nobody else notices, and a takeover
    afterwards is whole."""
    port = free_port()
    config = redis_config(port, pool="1792 MiB") + root_application(EJECTS)
    with Understudy(config) as understudy:
        understudy.up()
        understudy.wait_protected()
        client = Client(port)
        client.start()
        client.wait_reply()
        before = areas_in(understudy, "alpha")
        app = understudy.app()
        redis = Redis(port)
        for attempt in range(5):
            redis.do("LPUSH", "go", "now")
            if not redis.do("BRPOPLPUSH", "said", "kept", 60):
                raise Failed("root in alpha does nothing")
            try:
                understudy.wait_for(lambda _: lost(understudy), "an area that alpha gave away", limit_s=10)
                break
            except Failed:
                if attempt == 4:
                    raise
        redis.close()
        event = lost(understudy)[0]
        rows = {row["id"]: row for row in understudy.table_of_areas()}
        gone = before - areas_in(understudy, "alpha")
        if len(gone) != 1 or event["guest"] != "alpha" or "without being asked" not in event["text"]:
            raise Failed(f"the table does not follow: {gone} is gone from alpha, {event}")
        row = rows[gone.pop()]
        if (row["state"], row["use"]) != ("unused", "unused"):
            raise Failed(f"what alpha gave away is not unused: {row}")
        understudy.wait_protected()
        if understudy.app()["epoch"] != app["epoch"] or understudy.guest("alpha")["run"] != 1:
            raise Failed("Redis was not left alone")
        client.wait_reply()

        understudy.run("fault", "alpha", "--kind", "os-panic")
        understudy.wait_for(lambda _: (understudy.app()["active"], understudy.app()["state"]) == ("beta", "serving"),
                            "Redis serving on beta")
        client.wait_reply()
        if len(areas_in(understudy, "beta")) < 8:
            raise Failed(f"Redis has not what it needs on beta: {understudy.check_table()}")
        understudy.wait_protected()
        wrong = [event for event in understudy.events() if event["kind"] in ("difference-found", "qemu-event")]
        if wrong:
            raise Failed(f"a difference was found where none was: {wrong}")
        understudy.end(client)
