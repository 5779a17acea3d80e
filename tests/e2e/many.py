"""More than two guests and one application: several faults at once, and faults in the middle of a takeover."""
import contextlib
import os
import signal

from harness import NO_RESTART, Client, Failed, Understudy, free_port, guests_config, redis_application

SMALL = {"memory": "256 MiB", "minimum": "256 MiB", "maxmemory": "160mb"}


@contextlib.contextmanager
def many(guests, applications, pool):
    """`applications`: name -> options of redis_application. Yields the Understudy and a client for each of them."""
    config, ports = guests_config(guests, pool), {}
    for number, (name, options) in enumerate(applications.items()):
        ports[name] = free_port()
        config += redis_application(name, ports[name], inside=6379 + number, **{**SMALL, **options})
    with Understudy(config) as understudy:
        understudy.up()
        for name in applications:
            understudy.wait_protected(name)
        clients = {name: Client(port) for name, port in ports.items()}
        for client in clients.values():
            client.start()
            client.wait_reply()
        yield understudy, clients
        for name, client in clients.items():
            client.stop()
            if client.wrong:
                raise Failed(f"the client of {name} read something wrong: " + "; ".join(client.wrong[:3]))
        understudy.check_table()
        understudy.down()
        understudy.check_nothing_left()


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
