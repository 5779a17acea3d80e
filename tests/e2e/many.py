"""More than two guests and one application: several faults at once, and faults in the middle of a takeover."""
import contextlib
import os
import signal

from harness import MIB, NO_RESTART, Client, Failed, Redis, Understudy, free_port, guests_config, redis_application

SMALL = {"memory": "256 MiB", "minimum": "256 MiB", "maxmemory": "160mb"}


@contextlib.contextmanager
def many(guests, applications, pool):
    """`applications`: name -> options of redis_application. Yields the Understudy and a client for each of them, at
    `port` of which it is."""
    config, ports = guests_config(guests, pool), {}
    for number, (name, options) in enumerate(applications.items()):
        ports[name] = free_port()
        config += redis_application(name, ports[name], inside=6379 + number, **{**SMALL, **options})
    with Understudy(config) as understudy:
        understudy.up()
        for name, options in applications.items():
            if len(options["guests"]) > 1:
                understudy.wait_protected(name)
        clients = {name: Client(port) for name, port in ports.items()}
        for client in clients.values():
            client.start()
            client.wait_reply()
        yield understudy, clients
        understudy.end(*clients.values())


def serves_on(understudy, guest, *names):
    def met(_):
        apps = [understudy.app(name) for name in names]
        return all((app["state"], app["active"]) == ("serving", guest) for app in apps)
    return met


def case_two_at_once():
    """Two actives fail at the same time; the one standby that they share takes both over."""
    applications = {"one": {"guests": ("alpha", "gamma")}, "two": {"guests": ("beta", "gamma")}}
    with many(("alpha", "beta", "gamma"), applications, "1500 MiB") as (understudy, clients):
        victims = [understudy.qemu_pid("alpha"), understudy.qemu_pid("beta")]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        understudy.wait_for(serves_on(understudy, "gamma", "one", "two"), "both on gamma")
        for name, client in clients.items():
            client.wait_reply()
            understudy.wait_protected(name)


def case_mutual_takeover():
    """Each guest is active for one application and standby for the other's."""
    applications = {"one": {"guests": ("alpha", "beta")}, "two": {"guests": ("beta", "alpha")}}
    with many(("alpha", "beta"), applications, "1200 MiB") as (understudy, clients):
        if (understudy.app("one")["active"], understudy.app("two")["active"]) != ("alpha", "beta"):
            raise Failed("they do not start where their lists begin")
        clients["two"].reset()
        understudy.run("fault", "alpha", "--kind", "os-panic")
        understudy.wait_for(serves_on(understudy, "beta", "one", "two"), "both on beta")
        clients["one"].wait_reply()
        clients["two"].wait_reply()
        if understudy.app("two")["epoch"] != 1:
            raise Failed("the application that did not fail was touched")
        for name in applications:
            understudy.wait_protected(name)


def case_standby_killed_in_the_takeover():
    """The standby dies in the middle of the takeover: the next one is tried, and nothing is started twice."""
    applications = {"one": {"guests": ("alpha", "beta", "gamma")}}
    with many(("alpha", "beta", "gamma"), applications, "1200 MiB") as (understudy, clients):
        beta = understudy.qemu_pid("beta")
        understudy.run("fault", "alpha", "--kind", "os-panic")

        def struck(event):
            placing = event and event["kind"] == "app-placing" and event.get("guest") == "beta"
            if placing:
                os.kill(beta, signal.SIGKILL)
            return placing

        understudy.wait_for(struck, "the move to beta")
        understudy.wait_for(lambda _: understudy.app("one")["state"] == "serving"
                            and understudy.app("one")["active"] in ("alpha", "gamma"), "it serving elsewhere")
        clients["one"].wait_reply()
        understudy.wait_protected("one")


def case_the_neighbour_never_notices():
    """An application fails for good in a living OS: its memory leaves, and its neighbour misses no request."""
    applications = {"one": {"guests": ("alpha", "beta"), "restart": NO_RESTART}, "two": {"guests": ("alpha", "beta")}}
    with many(("alpha", "beta"), applications, "1200 MiB") as (understudy, clients):
        clients["two"].reset()
        understudy.run("fault", "one", "--kind", "app-exit")
        understudy.wait_for(serves_on(understudy, "beta", "one"), "one on beta")
        clients["one"].wait_reply()
        clients["two"].wait_reply()
        two = understudy.app("two")
        if (two["active"], two["epoch"], understudy.guest("alpha")["run"]) != ("alpha", 1, 1):
            raise Failed(f"the neighbour was touched: {two}")
        if clients["two"].connects != 1:
            raise Failed(f"the neighbour's client had to connect {clients['two'].connects} times")


def areas_of(understudy, user):
    return sorted(row["id"] for row in understudy.table_of_areas() if row["user"] == user)


def grow_until(understudy, name, port, enough):
    """Runs out of memory, and is given more and started again, as often as it takes."""
    for _ in range(12):
        if enough():
            return
        had = len(areas_of(understudy, name))
        with contextlib.suppress(OSError):
            redis = Redis(port)
            for number in range(2048):
                redis.do("SETRANGE", f"key:{number}", MIB - 1, "x")
        understudy.wait_for(lambda _, had=had: len(areas_of(understudy, name)) > had
                            and not understudy.app(name)["trouble"], f"{name} serving with more memory")
    raise Failed(f"{name} has grown to {areas_of(understudy, name)}, and that is not enough yet")


BATCH = {"guests": ("beta",), "maxmemory": "0", "extra": 'maximum_memory = "1 GiB"'}


def give_up(understudy, name):
    """It fails for good, is no hot standby job, and so keeps nothing."""
    understudy.run("fault", name, "--kind", "app-exit")
    understudy.wait_for(lambda _: understudy.app(name)["state"] == "failed", f"{name} given up")
    if areas_of(understudy, name):
        raise Failed(f"{name} is no hot standby job, has failed, and still has areas")


def case_priorities():
    """Memory that nobody uses is taken first. When that is not enough, who is important and may preempt takes the
    areas of who is less so; the latter goes on with what is left."""
    important = {"guests": ("alpha",), "memory": "512 MiB", "minimum": "512 MiB", "restart": NO_RESTART,
                 "extra": "priority = 10\npreempt = true"}
    with many(("alpha", "beta"), {"important": important, "batch": BATCH}, "1600 MiB") as (understudy, clients):
        had = len(areas_of(understudy, "important"))
        give_up(understudy, "important")
        understudy.run("start", "important")
        understudy.wait_for(serves_on(understudy, "alpha", "important"), "important serving again")
        if understudy.app("batch")["epoch"] != 1 or len(areas_of(understudy, "important")) != had:
            raise Failed("unused memory was there, and was not what it got")

        give_up(understudy, "important")
        grow_until(understudy, "batch", clients["batch"].port, lambda: len(areas_of(understudy, None)) < had - 1)
        grown = areas_of(understudy, "batch")
        understudy.run("start", "important")
        understudy.wait_for(serves_on(understudy, "alpha", "important"), "important serving with what was batch's")
        clients["important"].wait_reply()
        understudy.wait_for(serves_on(understudy, "beta", "batch"), "batch serving with what is left")
        clients["batch"].wait_reply()
        if not set(areas_of(understudy, "important")) & set(grown):
            raise Failed(f"important has none of the areas that batch had grown by: {understudy.table_of_areas()}")


def case_less_than_desired():
    """Somebody else has grown: who is started then gets what is left, as long as that reaches its minimum, and is not
    started below it, which status explains."""
    modest = {"guests": ("alpha",), "memory": "512 MiB", "minimum": "256 MiB", "maxmemory": "160mb", "restart": NO_RESTART}
    with many(("alpha", "beta"), {"modest": modest, "batch": BATCH}, "1600 MiB") as (understudy, clients):
        had = len(areas_of(understudy, "modest"))
        give_up(understudy, "modest")
        grow_until(understudy, "batch", clients["batch"].port, lambda: len(areas_of(understudy, None)) < had)
        left = len(areas_of(understudy, None))
        understudy.run("start", "modest")
        understudy.wait_for(serves_on(understudy, "alpha", "modest"), "modest serving with less")
        clients["modest"].wait_reply()
        if len(areas_of(understudy, "modest")) != left:
            raise Failed(f"it was left {left} areas and has {areas_of(understudy, 'modest')}")

        give_up(understudy, "modest")
        grow_until(understudy, "batch", clients["batch"].port, lambda: len(areas_of(understudy, None)) < 2)
        understudy.run("start", "modest")
        understudy.wait_for(lambda _: "needs 256 MiB" in understudy.app("modest")["trouble"], "the reason being said")
        if understudy.app("modest")["state"] == "serving" or understudy.app("batch")["epoch"] != 1:
            raise Failed("below its minimum it was started, or took from an application that it may not preempt")
