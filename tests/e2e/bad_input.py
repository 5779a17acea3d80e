"""What is wrong is said once, clearly, and nothing is started."""
import pathlib
import socket

from harness import Failed, Understudy, free_port, redis_config


def expect_refusal(understudy, *wanted):
    done = understudy.run("up", "-f", str(understudy.config), "--detach", check=False)
    said = done.stdout + done.stderr
    if done.returncode != 1:
        raise Failed(f"exit status {done.returncode}, not 1: {said}")
    for text in wanted:
        if text not in said:
            raise Failed(f"\"{text}\" is not said in: {said}")
    understudy.check_nothing_left()


def case_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Understudy(redis_config(port)) as understudy:
            expect_refusal(understudy, f"127.0.0.1:{port}", "in use")


def case_bad_configuration():
    text = redis_config(free_port()).replace('"1 GiB"', '"1 GiBs"').replace("hot_standby", "hot_stand")
    with Understudy(text) as understudy:
        file = str(understudy.config)
        expect_refusal(understudy, f"{file}:", "1 GiBs", "hot_stand", "hot_standby")


def case_missing_image():
    with Understudy(redis_config(free_port()).replace("/vmlinux", "/no-such-vmlinux")) as understudy:
        expect_refusal(understudy, "no-such-vmlinux", "make build")


def case_budget_does_not_hold():
    with Understudy(redis_config(free_port(), pool="1 GiB")) as understudy:
        expect_refusal(understudy, f"{understudy.config}:2:")


def case_wrong_usage():
    with Understudy(redis_config(free_port())) as understudy:
        for args in (["fault", "alpha", "--kind", "flood"], ["takeover"], ["no-such-command"], []):
            done = understudy.run(*args, check=False)
            if done.returncode != 2:
                raise Failed(f"understudy {args}: exit status {done.returncode}, not 2: {done.stderr}")
        done = understudy.run("status", check=False)
        if done.returncode != 1 or "understudy up" not in done.stderr:
            raise Failed(f"status without a daemon: {done.returncode} {done.stderr}")
        if pathlib.Path(understudy.run_dir).exists():
            raise Failed("asking made a run directory")
