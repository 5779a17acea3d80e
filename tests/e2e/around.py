"""What stands around a takeover: maintenance."""
import os
import signal

from harness import Failed
from os_faults import pair


def case_maintenance():
    """Under maintenance a killed QEMU moves nothing and everything says why; when it ends the takeover happens."""
    with pair() as (understudy, client):
        nobody = understudy.run("maintenance", "gamma", check=False)
        if nobody.returncode != 1 or "alpha, beta, redis" not in nobody.stderr:
            raise Failed(f"an unknown name is not explained: {nobody.stderr}")
        too_long = understudy.run("maintenance", "alpha", "--for", "25h", check=False)
        if too_long.returncode != 2 or "24 h" not in too_long.stderr:
            raise Failed(f"a day and an hour was not refused: {too_long.returncode} {too_long.stderr}")
        understudy.run("maintenance", "alpha", "--for", "30m")
        if not understudy.guest("alpha")["maintenance_until"]:
            raise Failed("status does not say until when")
        status = understudy.app()
        if status["protected"] or "maintenance" not in status["why"]:
            raise Failed(f"shown as protected although nothing would be moved: {status}")
        if "MAINTENANCE of alpha until" not in understudy.run("status").stdout:
            raise Failed("a person is not shown the maintenance")

        # The next daemon knows of it.
        until = understudy.guest("alpha")["maintenance_until"]
        os.kill(understudy.daemon_pid(), signal.SIGKILL)
        understudy.up()
        if not understudy.guest("alpha")["maintenance_until"] or understudy.guest("alpha")["maintenance_until"][:16] < until[:16]:
            raise Failed(f"the next daemon forgot it: until {until}, now {understudy.guest('alpha')['maintenance_until']}")
        client.wait_reply()

        os.kill(understudy.qemu_pid("alpha"), signal.SIGKILL)

        def rebuilt(_):
            return understudy.guest("alpha")["run"] == 2 and understudy.guest("alpha")["state"] == "ready"

        understudy.wait_for(rebuilt, "alpha booted again")
        kinds = [event["kind"] for event in understudy.events()]
        for kind in ("maintenance-begun", "guest-exited", "takeover-waits"):
            if kind not in kinds:
                raise Failed(f"no event says {kind}: {kinds}")
        status = understudy.app()
        if (status["state"], status["epoch"]) != ("waiting", 1) or "maintenance alpha --end" not in status["trouble"]:
            raise Failed(f"redis was moved, or its state does not say why not: {status}")
        understudy.check_table()

        understudy.run("maintenance", "alpha", "--end")
        understudy.wait_for(lambda _: understudy.app()["state"] == "serving", "Redis serving after maintenance")
        client.wait_reply()
        if understudy.app()["epoch"] != 2:
            raise Failed(f"redis was not started exactly once: {understudy.app()}")
        again = understudy.run("maintenance", "alpha", "--end", check=False)
        if again.returncode != 1 or "not in maintenance" not in again.stderr:
            raise Failed(f"ending what is over is not explained: {again.stderr}")
        understudy.wait_protected()

        # It ends by itself, and an order is not held up by it.
        understudy.run("maintenance", "redis", "--for", "2 s")
        understudy.wait_for(lambda event: event and event["kind"] == "maintenance-expired", "its time being up")
        understudy.wait_protected()
        source = understudy.app()["active"]
        understudy.run("maintenance", source)
        understudy.run("takeover", "redis")
        understudy.wait_for(lambda _: understudy.app()["state"] == "serving" and understudy.app()["active"] != source,
                            "Redis moved off the guest in maintenance")
        client.wait_reply()
