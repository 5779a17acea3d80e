"""The application fails while its OS lives."""
import contextlib

from harness import MIB, NO_RESTART, Failed, Redis, Understudy, free_port, pair, redis_config


def serving_again(understudy, epoch, guest):
    def met(event):
        app = understudy.app()
        return app["state"] == "serving" and app["active"] == guest and app["epoch"] == epoch
    return met


def case_restart_in_place():
    """A recoverable fault: restarted where it is, under the same epoch; nothing moves."""
    with pair() as (understudy, client):
        for kind in ("app-exit", "app-hang"):
            client.reset()
            before = len([e for e in understudy.events() if e["kind"] == "app-restarting"])
            understudy.run("fault", "redis", "--kind", kind)
            understudy.wait_for(
                lambda event: len([e for e in understudy.events() if e["kind"] == "app-restarting"]) > before
                and understudy.app()["state"] == "serving", f"Redis restarted after {kind}")
            client.wait_reply()
        status = understudy.app()
        if status["active"] != "alpha" or status["epoch"] != 1:
            raise Failed(f"a recoverable fault moved the application: {status}")


def case_app_fault_moves():
    """An unrecoverable fault of a hot standby job, its OS alive: its areas leave the living OS, the guest stays."""
    with pair(restart=NO_RESTART) as (understudy, client):
        client.reset()
        client.wait_reply()
        understudy.run("fault", "redis", "--kind", "app-exit")
        understudy.wait_for(serving_again(understudy, 2, "beta"), "Redis serving on beta")
        client.wait_reply()
        report = understudy.ask("report", "redis")
        if report["from"] != "alpha" or report["bytes_moved"] < 512 * MIB:
            raise Failed(f"the report is of something else: {report}")
        if next(p["ms"] for p in report["phases"] if p["name"] == "detach") <= 0:
            raise Failed(f"nothing was detached from a living OS: {report}")
        if understudy.guest("alpha")["run"] != 1:
            raise Failed("alpha was fenced although its OS let go of the memory")
        if understudy.guest("alpha")["areas_bytes"] != 0:
            raise Failed("alpha kept areas")
        understudy.wait_protected()


def case_not_a_hot_standby_job():
    """Without hot standby an application fault moves nothing: its areas become unused, and it is shown as failed."""
    port = free_port()
    with Understudy(redis_config(port, guests=("solo",), pool="1312 MiB", restart=NO_RESTART)) as understudy:
        understudy.up()
        understudy.run("fault", "redis", "--kind", "app-exit")
        understudy.wait_for(lambda _: understudy.app()["state"] == "failed", "Redis given up")
        rows = understudy.check_table()["rows"]
        areas = [row for row in rows if row["id"].startswith("area-")]
        if not areas or any(row["use"] != "unused" for row in areas):
            raise Failed(f"its areas are not unused: {areas}")
        if "killed by" not in understudy.app()["trouble"]:
            raise Failed(f"the reason is not shown: {understudy.app()}")
        understudy.run("start", "redis")
        understudy.wait_for(serving_again(understudy, 2, "solo"), "Redis started again by the operator")
        understudy.down()
        understudy.check_nothing_left()


def case_segmentation_fault():
    """A SIGSEGV, with restarts spent: reported with the signal and the application's last words, and taken over."""
    with pair(restart=NO_RESTART) as (understudy, client):
        client.reset()
        understudy.run("fault", "redis", "--kind", "app-crash")
        understudy.wait_for(serving_again(understudy, 2, "beta"), "Redis serving on beta")
        client.wait_reply()
        cause = understudy.ask("report", "redis")["cause"]
        if "SIGSEGV" not in cause:
            raise Failed(f"the report does not name the signal: {cause}")
        said = [event["text"] for event in understudy.events() if event["kind"] == "app-faulted"]
        if not said or "its last words: " not in said[0] or len(said[0].split("its last words: ")[1]) < 100:
            raise Failed(f"what Redis said of its end is not told: {said}")


def case_stopped_application():
    """A SIGSTOP: nothing ends, nothing answers; its health check fails, and it moves, certainly ended first."""
    with pair(restart=NO_RESTART) as (understudy, client):
        understudy.run("fault", "redis", "--kind", "app-hang")
        understudy.wait_for(serving_again(understudy, 2, "beta"), "Redis serving on beta")
        client.wait_reply()
        if understudy.guest("alpha")["run"] != 1:
            raise Failed("alpha was fenced although only its application hung")
        understudy.wait_protected()


def grows_where_it_is(fill, **more):
    """Redis gets more memory from the VMM, and is started again where it is, when `fill` (which is given a
    connection) has made it run out of what it has."""
    options = {"memory": "256 MiB", "minimum": "256 MiB", "maxmemory": "0", "extra": 'maximum_memory = "768 MiB"'}
    with pair(**options, **more) as (understudy, client):
        before = understudy.guest("alpha")["areas_bytes"]
        with contextlib.suppress(OSError):  # it is killed in the middle
            fill(Redis(understudy.port))
            raise Failed("all of it fitted into 256 MiB")
        understudy.wait_for(lambda _: understudy.guest("alpha")["areas_bytes"] > before
                            and understudy.app()["state"] == "serving", "Redis serving with more memory")
        client.wait_reply()
        app = understudy.app()
        if (app["active"], app["epoch"], understudy.guest("alpha")["run"]) != ("alpha", 1, 1):
            raise Failed(f"it moved instead of growing: {app}")
        understudy.wait_protected()


def case_out_of_memory():
    """The kernel kills it in its own cgroup."""
    grows_where_it_is(lambda redis: redis.do("DEBUG", "POPULATE", 400_000, "key", 1000),
                      start_extra=("--enable-debug-command", "yes"))


def case_crawling_at_its_limit():
    """The kernel does not kill it: it finds pages of its program to drop, and reads them in again, for minutes."""
    def fill(redis):
        for number in range(240):
            redis.do("SETRANGE", f"large:{number}", MIB - 1, "x")
        for number in range(16_384):
            redis.do("SETRANGE", f"small:{number}", 4095, "x")

    grows_where_it_is(fill)


def case_release_limit():
    """The living OS does not let go of the memory in time: its guest is fenced, and all of it moves."""
    with pair(restart=NO_RESTART, extra='release_limit = "10 ms"') as (understudy, client):
        understudy.run("fault", "redis", "--kind", "app-exit")
        understudy.wait_for(lambda _: understudy.app()["active"] == "beta" and understudy.app()["state"] == "serving",
                            "Redis serving on beta")
        client.wait_reply()
        understudy.wait_protected()
        if understudy.guest("alpha")["run"] != 2 or understudy.guest("beta")["areas_bytes"] != 1024 * MIB:
            raise Failed("alpha was not fenced, or kept something")
