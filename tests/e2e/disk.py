"""What the host has below it: a disk that fails means no moves, and never a word to the applications; huge pages."""
import contextlib
import os
import pathlib
import resource
import subprocess
import tempfile

from harness import Failed, Skipped, Understudy, free_port, pair, redis_config
from os_faults import expect_takeover


def mount(*args):
    done = subprocess.run(["mount", *map(str, args)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Skipped(f"mount {' '.join(map(str, args))}: {done.stderr.strip()}")


@contextlib.contextmanager
def mounted(*args, at):
    mount(*args, at)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@contextlib.contextmanager
def small_disk():
    """alpha serving Redis, beta its standby, a client at work, and a disk of a few MiB below all of it but the areas."""
    if os.geteuid() != 0:
        raise Skipped("only root may mount a disk to fill")
    base = pathlib.Path(tempfile.mkdtemp(prefix="understudy-disk-"))
    try:
        with mounted("-t", "tmpfs", "-o", "size=12m,mode=0700", "tmpfs", at=base):
            with pair(run_dir=base) as (understudy, client):
                yield understudy, client
    finally:
        base.rmdir()


def fill(file):
    with file.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(bytes(4096))


def files_of(pid, most_bytes):
    """How large a file may become that this process writes, from now on."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if most_bytes is None else most_bytes, hard))


def case_disk_full():
    """A disk without a free byte stops what logs, and neither the journal nor a takeover. A journal that is refused all
    the same: Redis serves on; a fault then is seen and said, nothing is moved, and all of it happens by itself when the
    journal can be written again."""
    with small_disk() as (understudy, client):
        filler = understudy.base / "filler"
        fill(filler)
        for source, target in (("alpha", "beta"), ("beta", "alpha")):
            def strike(guest=source):
                understudy.run("fault", guest, "--kind", "os-panic")

            expect_takeover(understudy, client, strike, source, target)
        if os.statvfs(understudy.base).f_bavail != 0 or understudy.status()["journal_trouble"]:
            raise Failed("the disk was not full, or the journal had trouble with it")
        file = (understudy.run_dir / "events.jsonl").read_text()
        lines = [line for line in file.splitlines() if "takeover-done" in line]
        told = [event for event in understudy.events() if event["kind"] == "takeover-done"]
        if lines or len(told) != 2:
            raise Failed(f"events were written to the full disk, or are not in memory: {lines} {told}")
        filler.unlink()

        daemon = understudy.daemon_pid()
        files_of(daemon, 16)
        active = understudy.app()["active"]
        understudy.run("fault", active, "--kind", "os-panic")
        understudy.wait_for(lambda _: understudy.status()["journal_trouble"], "the trouble being said")
        trouble = understudy.status()["journal_trouble"]
        if "File too large" not in trouble or str(understudy.run_dir / "journal") not in trouble:
            raise Failed(f"it does not say what is wrong where: {trouble}")
        if len([e for e in understudy.events() if e["kind"] == "journal-failed"]) != 1:
            raise Failed("the trouble is not said once")
        started = [e for e in understudy.events() if e["kind"] == "app-serving"]
        understudy.check_table()
        files_of(daemon, None)
        understudy.wait_for(lambda _: not understudy.status()["journal_trouble"], "the trouble being over")
        understudy.wait_protected()
        client.wait_reply()
        if understudy.app()["active"] == active:
            raise Failed(f"{active} failed, and Redis is still there; it was started as often as this: {started}")


def case_run_directory_read_only():
    """A daemon that cannot write its run directory refuses to start, says why, and leaves alone what runs."""
    with small_disk() as (understudy, client):
        understudy.kill_daemon()
        mount("--bind", understudy.run_dir, understudy.run_dir)
        try:
            mount("-o", "remount,bind,ro", understudy.run_dir)
            client.reset()
            again = understudy.run("up", "-f", str(understudy.config), "--detach", check=False)
            if again.returncode == 0 or "Read-only file system" not in again.stderr or str(understudy.run_dir) not in again.stderr:
                raise Failed(f"not refused with its reason: {again.returncode} {again.stdout}{again.stderr}")
            client.wait_reply()
        finally:
            subprocess.run(["umount", str(understudy.run_dir)], check=True)
        understudy.up()
        understudy.wait_protected()
        client.wait_reply()
        if understudy.app()["epoch"] != 1 or client.gap[0] > 5000:
            raise Failed(f"clients noticed: {understudy.app()}, {client.gap[0]:.0f} ms")


@contextlib.contextmanager
def huge_pages(count):
    """A mount with so many free huge pages of 2 MiB; how many the host keeps is put back afterwards."""
    setting = pathlib.Path("/proc/sys/vm/nr_hugepages")
    before = setting.read_text()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="understudy-huge-"))
    try:
        try:
            setting.write_text(str(int(before) + count))
        except OSError as error:
            raise Skipped(f"huge pages cannot be reserved: {error}") from error
        if int(setting.read_text()) < int(before) + count:
            raise Skipped(f"the host has no {count} huge pages to give")
        with mounted("-t", "hugetlbfs", "-o", "pagesize=2M", "none", at=directory):
            yield directory
    finally:
        with contextlib.suppress(OSError):
            setting.write_text(before)
        directory.rmdir()


def case_huge_pages():
    """The areas are made of huge pages: they move as any others, and are all given back."""
    with huge_pages(560) as directory:
        config = redis_config(free_port()).replace("[image]", f'backing = "hugetlbfs"\ndirectory = "{directory}"\n[image]', 1)
        with Understudy(config) as understudy:
            understudy.up()
            understudy.wait_protected()
            understudy.run("fault", "alpha", "--kind", "os-panic")
            understudy.wait_for(lambda _: understudy.app()["active"] == "beta" and understudy.app()["state"] == "serving",
                                "Redis serving on beta")
            understudy.wait_protected()
            understudy.end()
        left = list(directory.iterdir())
        if left:
            raise Failed(f"left in the huge pages' mount: {left}")
