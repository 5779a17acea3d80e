"""What is wrong is said once, clearly, and nothing is started."""
import pathlib
import socket

from harness import Failed, Redis, Understudy, free_port, redis_config


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


def everything_below(directory):
    """What `up` and `down` must leave as it is: names, modes, sizes, times."""
    return [(str(path), path.lstat().st_mode, path.lstat().st_size, path.lstat().st_mtime_ns)
            for path in [directory, *sorted(directory.rglob("*"))]]


def case_run_directory_of_others():
    """A directory that is not Understudy's is not entered, closed or emptied, whatever its files are called."""
    with Understudy(redis_config(free_port())) as understudy:
        theirs = understudy.run_dir
        theirs.mkdir(mode=0o755)
        (theirs / "disk.qcow2").write_bytes(bytes(1 << 20))
        for name in ("guests", "pool", "areas"):
            (theirs / name).mkdir()
            (theirs / name / "file").write_text("somebody's\n")
        (theirs / "journal").write_text("dear journal\n")
        before = everything_below(theirs)
        for args in (["up", "-f", str(understudy.config), "--detach"], ["down"]):
            done = understudy.run(*args, check=False)
            if done.returncode != 1 or "nothing was touched" not in done.stderr or "disk.qcow2" not in done.stderr:
                raise Failed(f"{args[0]} in a directory of others: {done.returncode} {done.stdout}{done.stderr}")
            if everything_below(theirs) != before:
                raise Failed(f"{args[0]} changed a directory of others: {everything_below(theirs)}, not {before}")

        # One that is everybody's, and one whose name is too long for a first start to succeed: made by us or not, it
        # is afterwards as it was before.
        public = understudy.base / "public"
        public.mkdir()
        public.chmod(0o1777)
        deep = understudy.base / ("x" * 100)
        for directory, make in ((public, False), (deep, False), (deep, True)):
            if make:
                directory.mkdir(mode=0o750)
            before = everything_below(directory) if directory.exists() else None
            understudy.run_dir = directory
            done = understudy.run("up", "-f", str(understudy.config), "--detach", check=False)
            if done.returncode != 1:
                raise Failed(f"up in {directory}: {done.returncode} {done.stdout}{done.stderr}")
            after = everything_below(directory) if directory.exists() else None
            if [entry[:2] for entry in before or []] != [entry[:2] for entry in after or []]:
                raise Failed(f"a start that failed left {after}, not {before}: {done.stderr}")

        # Mistyped, while Understudy is elsewhere.
        understudy.run_dir = understudy.base / "mistyped"
        done = understudy.run("down", check=False)
        if done.returncode != 1 or "nothing of Understudy's was found" not in done.stderr:
            raise Failed(f"down of what is not there: {done.returncode} {done.stdout}{done.stderr}")


def case_exchanged_run_directory():
    """The run directory is moved away under a daemon, with or without another in its place: `down` says that it runs on
    and where its directory is, touches nothing, and does its work when that is back."""
    port = free_port()
    with Understudy(redis_config(port)) as understudy:
        understudy.up()
        daemon = understudy.daemon_pid()
        here, away = understudy.run_dir, understudy.base / "away"
        for exchanged in (False, True):
            here.rename(away)
            if exchanged:
                here.mkdir(mode=0o700)
                (here / "understudy-run-dir").write_text((away / "understudy-run-dir").read_text())
            done = understudy.run("down", check=False)
            if done.returncode != 1 or f"process {daemon} was started for" not in done.stderr or str(away) not in done.stderr:
                raise Failed(f"down of a directory that is elsewhere: {done.returncode} {done.stdout}{done.stderr}")
            if here.exists():
                (here / "understudy-run-dir").unlink()
                here.rmdir()
            away.rename(here)
        redis = Redis(port)
        redis.do("PING")
        redis.close()
        understudy.run("down")
