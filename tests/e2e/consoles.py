"""What a guest writes on its console: it tells why the guest failed, and whoever floods it disturbs nobody."""
import os
import pathlib
import threading

from harness import IMAGE, MIB, Client, Failed, Redis, Understudy, free_port, redis_config, root_application

CONSOLE = "; the end of its console:\n"
# Says why on its console, and ends.
ENDS = b"#!/bin/sh\necho there is no agent here\nexit 7\n"
# Says why on its console, and then nothing any more: the agent never runs.
SPEECHLESS = b"#!/bin/sh\nprintf 'nothing \\033[31mworks\\033[0m here\\r\\n\\377\\n'\nexec sleep 100000\n"
# Root in alpha: lines without end, and what is none.
FLOOD = ("until redis-cli ping; do sleep 0.2; done; redis-cli blpop go 0; "
         "(while :; do seq 100000 130000; head -c 65536 /dev/urandom; done > /dev/ttyS0) & "
         "while :; do redis-cli set written \\\"$(cat /proc/tty/driver/serial)\\\"; sleep 0.5; done")


def newc(name, data, mode=0o100755):
    """One file of a cpio archive, as kernels unpack it."""
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def words_of_a_guest_that_boots(init, kind):
    """The first event of this kind, and the end of the console in it, when this is the init instead of the agent."""
    with Understudy("") as understudy:
        image = understudy.base / "initramfs.cpio"
        understudy.base.chmod(0o755)  # QEMU may have a user of its own
        whole = pathlib.Path(f"{IMAGE}/initramfs.cpio").read_bytes()
        # Archives may follow each other, and the last one counts.
        image.write_bytes(whole + bytes(-len(whole) % 4) + newc("init", init) + newc("TRAILER!!!", b"", 0))
        config = redis_config(free_port()).replace(f"{IMAGE}/initramfs.cpio", str(image))
        understudy.config.write_text(config.replace('overhead = "160 MiB"', 'overhead = "160 MiB"\nboot_limit = "8 s"'))
        up = threading.Thread(target=understudy.run, args=("up", "-f", str(understudy.config), "--detach"),
                              kwargs={"check": False})
        up.start()
        understudy.wait_daemon()
        said = []

        def told(event):
            if event and event["kind"] == kind:
                said.append(event["text"])
            return bool(said)

        understudy.wait_for(told, f"the event {kind}")
        understudy.down()
        up.join()
        understudy.check_nothing_left()
    words = said[0].partition(CONSOLE)[2]
    if len(words.splitlines()) > 10 or len(words) > 2048 or any(c != "\n" and not " " <= c <= "~" for c in words):
        raise Failed(f"the words are not bounded and cleaned: {words!r}")
    return said[0], words


def case_broken_initramfs():
    """A guest that cannot boot says why: its kernel panicked, or its agent never answered."""
    said, words = words_of_a_guest_that_boots(ENDS, "guest-exited")
    if "there is no agent here\n" not in words or "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000700" not in words:
        raise Failed(f"a kernel without an init is not quoted: {said!r}")
    said, words = words_of_a_guest_that_boots(SPEECHLESS, "guest-fenced")
    if "nothing works here\n?" not in words:
        raise Failed(f"an init that is no agent is not quoted: {said!r}")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def own_memory(pid):
    """What the process has that is no area: those are shared."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) << 10


def written(redis):
    """Bytes that alpha's serial port has sent, as its kernel counts them."""
    text = (redis.do("GET", "written") or b"").decode()
    return int(text.partition("tx:")[2].split()[0]) if "tx:" in text else 0


def bytes_below(directory):
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())


def case_console_flood():
    """Root in the guest floods its console: nothing grows on the host, the daemon does nothing for it, and the takeover
    from that guest happens as ever."""
    port = free_port()
    config = redis_config(port, pool="1792 MiB") + root_application(FLOOD)
    with Understudy(config) as understudy:
        understudy.up()
        understudy.wait_protected()
        redis = Redis(port)
        daemon, qemu = understudy.daemon_pid(), understudy.qemu_pid("alpha")
        redis.do("LPUSH", "go", "now")
        client = Client(port)
        client.start()
        while not written(redis):
            client.wait_reply()
        files, memory, sent, used = bytes_below(understudy.run_dir / "guests"), own_memory(qemu), written(redis), cpu_seconds(daemon)
        seconds = 0
        while written(redis) < sent + MIB // 2:
            redis.do("BLPOP", "nothing", 1)
            seconds += 1
            if seconds > 120:
                raise Failed(f"only {written(redis) - sent} bytes were written in {seconds} s: that is no flood")
        used = cpu_seconds(daemon) - used
        grown, more = own_memory(qemu) - memory, bytes_below(understudy.run_dir / "guests") - files
        if used > 0.05 * seconds + 0.1:
            raise Failed(f"the daemon used {used} s of processor time in {seconds} s")
        if grown > 32 * MIB or more > 4096:
            raise Failed(f"QEMU's memory grew by {grown} bytes, its files by {more}")
        redis.close()
        understudy.run("fault", "alpha", "--kind", "os-panic")
        understudy.wait_for(lambda _: understudy.app()["active"] == "beta" and understudy.app()["state"] == "serving",
                            "Redis serving on beta")
        client.wait_reply()
        understudy.wait_protected()
        said = [e["text"] for e in understudy.events() if e["kind"] == "guest-panicked"]
        if len(said) != 1 or "Kernel panic - not syncing: sysrq triggered crash" not in said[0].partition(CONSOLE)[2]:
            raise Failed(f"the flood hides the panic: {said}")
        if len(said[0]) > 2500:
            raise Failed(f"an event of {len(said[0])} bytes")
        understudy.end(client)
