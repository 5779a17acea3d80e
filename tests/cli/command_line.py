#!/usr/bin/env python3
"""The command line by itself: a terminal, signals, a daemon that is dead, stopped, silent or somebody else's. No guest is
started: understudyd is played by fake_understudyd. Usage: UNDERSTUDY_BUILD=build tests/cli/command_line.py"""
import contextlib
import json
import os
import pathlib
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("UNDERSTUDY_BUILD", ROOT / "build"))
LIMIT_S = 120  # of waiting for what must happen; the machine may be busy

CONFIG = """[pool]
memory = "512 MiB"
[image]
kernel = "vmlinux"
initramfs = "initramfs.cpio"
disk = "apps.squashfs"
[[guest]]
name = "alpha"
overhead = "1 MiB"
[[application]]
name = "web"
guests = ["alpha"]
memory = "64 MiB"
start = ["/usr/bin/web"]
"""


def app(state="serving", **more):
    return {"name": "web", "state": state, "active": "alpha", "standby": None, "protected": False, "why": "", "epoch": 1,
            "hot_standby": False, "maintenance": False, "maintenance_until": None, "trouble": "", "proven": None,
            "rehearsal": None, "vcpus": 0, "vcpus_plugged": 0, "predicted_takeover_ms": None, **more}


def status(*apps, guest="ready"):
    return {"applications": list(apps), "accelerator": "tcg", "accelerator_reason": "it is a test", "journal_trouble": "",
            "guests": [{"name": "alpha", "state": guest, "run": 1, "base_bytes": 0, "areas_bytes": 0, "base_vcpus": 1,
                        "application_vcpus": 0, "host_bytes": 0, "maintenance_until": None}]}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def event(kind, text, **more):
    return {"kind": kind, "text": text, **more}


READY = event("guest-ready", "alpha is ready", guest="alpha")
START_FAILED = event("app-start-failed", "web could not be started on alpha: exit status 127", guest="alpha",
                     application="web")


class CommandLine(unittest.TestCase):
    def setUp(self):
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="understudy-cli-"))
        self.run_dir = self.base / "run"
        self.program = self.base / "understudy"
        shutil.copy(BUILD / "bin" / "understudy", self.program)
        shutil.copy(ROOT / "tests" / "cli" / "fake_understudyd", self.base / "understudyd")
        (self.base / "vmlinux").write_bytes(b"\x7fELF" + bytes(64))
        (self.base / "initramfs.cpio").write_bytes(b"070701" + b"0" * 104)
        (self.base / "apps.squashfs").write_bytes(b"hsqs" + bytes(92))
        self.config = self.base / "understudy.toml"
        self.config.write_text(CONFIG)
        self.children = []

    def tearDown(self):
        for child in self.children:
            with contextlib.suppress(OSError):
                child.kill()
            child.wait()
            for pipe in (child.stdout, child.stderr):
                if pipe:
                    pipe.close()
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.run_dir / "understudyd.pid").read_text()), signal.SIGKILL)
        shutil.rmtree(self.base)

    def script(self, **script):
        (self.base / "script.json").write_text(json.dumps({"status": status(app()), "events": [READY], **script}))

    def rewrite(self, **more):
        script = json.loads((self.base / "script.json").read_text())
        (self.base / "script.json").write_text(json.dumps({**script, **more}))

    def command(self, *args):
        return [str(self.program), "--run-dir", str(self.run_dir), *args]

    def run_it(self, *args, **options):
        return subprocess.run(self.command(*args), capture_output=True, text=True, timeout=LIMIT_S, check=False, **options)

    def popen(self, *args, **options):
        child = subprocess.Popen(self.command(*args), text=True, **options)
        self.children.append(child)
        return child

    def up(self, **script):
        """A daemon that runs, as `up --detach` left it; returns its pid."""
        self.script(**script)
        done = self.run_it("up", "-f", str(self.config), "--detach")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return int((self.run_dir / "understudyd.pid").read_text())

    def terminal(self, *args):
        """The command at a terminal of its own; returns the process and the terminal's other end."""
        ours, theirs = pty.openpty()
        child = self.popen(*args, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                           preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0))
        os.close(theirs)
        return child, ours

    def read_until(self, fd, text):
        said, end = "", time.monotonic() + LIMIT_S
        while text not in said:
            left = end - time.monotonic()
            self.assertGreater(left, 0, f"never said {text!r}: {said}")
            if select.select([fd], [], [], left)[0]:
                try:
                    more = os.read(fd, 4096)
                except OSError:  # the other end of a terminal was closed
                    more = b""
                self.assertTrue(more, f"ended before it said {text!r}: {said}")
                said += more.decode(errors="replace")
        return said

    # ---- Ctrl-C ----

    def test_ctrl_c_ends_a_foreground_up_while_all_is_quiet(self):
        self.script()
        child, terminal = self.terminal("up", "-f", str(self.config))
        said = self.read_until(terminal, "guests run under")
        self.assertIn("web", said)
        os.write(terminal, b"\x03")
        said = self.read_until(terminal, "is left")
        self.assertIn("going down", said)
        self.assertEqual(child.wait(timeout=LIMIT_S), 0)
        self.assertTrue((self.base / "was_brought_down").exists())
        self.assertFalse(self.run_dir.exists())
        os.close(terminal)

    def test_sigterm_ends_a_foreground_up_too(self):
        self.script()
        child = self.popen("up", "-f", str(self.config), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.read_until(child.stdout.fileno(), "guests run under")
        child.terminate()
        self.assertEqual(child.wait(timeout=LIMIT_S), 0)
        self.assertTrue((self.base / "was_brought_down").exists())

    def test_ctrl_c_before_it_is_up_leaves_a_detached_daemon(self):
        self.script(status=status(app("starting")))
        child = self.popen("up", "-f", str(self.config), "--detach", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.read_until(child.stdout.fileno(), "alpha is ready")
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=LIMIT_S)
        self.assertEqual(child.returncode, 1)
        self.assertIn("understudyd goes on", said)
        self.assertFalse((self.base / "was_brought_down").exists())

    def test_ctrl_c_is_not_for_a_command_in_the_background(self):
        self.script()
        child = self.popen("up", "-f", str(self.config), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        self.read_until(child.stdout.fileno(), "guests run under")
        child.send_signal(signal.SIGINT)
        self.assertEqual(self.run_it("status").returncode, 0)
        self.assertIsNone(child.poll())

    # ---- a daemon that is stopped, dead, or somebody else's ----

    def test_no_command_hangs_on_a_stopped_daemon(self):
        pid = self.up()
        os.kill(pid, signal.SIGSTOP)
        commands = (["status"], ["table"], ["events"], ["report"], ["takeover", "web"], ["start", "web"], ["down"],
                    ["fault", "alpha", "--kind", "os-panic"], ["rehearse", "web"], ["maintenance", "alpha"])
        for command in commands:
            done = self.run_it("--timeout", "300ms", *command)
            self.assertEqual(done.returncode, 1, command)
            for wanted in (f"pid {pid}", "state T", f"kill -CONT {pid}", "300 ms"):
                self.assertIn(wanted, done.stderr, command)
        again = self.run_it("--timeout", "300ms", "up", "-f", str(self.config))
        self.assertIn("already running", again.stderr)
        os.kill(pid, signal.SIGCONT)
        self.assertEqual(self.run_it("down").returncode, 0)

    def test_no_command_hangs_on_a_stopped_daemon_whose_queue_is_full(self):
        pid = self.up()
        os.kill(pid, signal.SIGSTOP)
        with contextlib.ExitStack() as stack:
            with self.assertRaises(BlockingIOError):
                while True:  # until no more fits
                    waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                    waiting.setblocking(False)
                    waiting.connect(str(self.run_dir / "control.sock"))
            done = self.run_it("--timeout", "300ms", "status")
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"kill -CONT {pid}", done.stderr)
            self.assertIn("already running", self.run_it("up", "-f", str(self.config)).stderr)
        os.kill(pid, signal.SIGCONT)

    def test_who_follows_a_stopped_daemon_is_told(self):
        pid = self.up()
        follower = self.popen("--timeout", "300ms", "events", "--follow", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.read_until(follower.stdout.fileno(), "alpha is ready")
        os.kill(pid, signal.SIGSTOP)
        self.read_until(follower.stderr.fileno(), "state T")  # and it goes on following
        self.assertIsNone(follower.poll())
        os.kill(pid, signal.SIGCONT)

    def test_followed_events_end_with_an_error_when_the_daemon_dies(self):
        pid = self.up()
        follower = self.popen("events", "--follow", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.read_until(follower.stdout.fileno(), "alpha is ready")
        os.kill(pid, signal.SIGKILL)
        _, said = follower.communicate(timeout=LIMIT_S)
        self.assertEqual(follower.returncode, 1)
        self.assertIn("understudyd ended", said)
        done = self.run_it("status")
        self.assertEqual(done.returncode, 1)
        self.assertIn("ended", done.stderr)
        self.assertIn("understudy down", done.stderr)
        self.assertEqual(self.run_it("down").returncode, 0)

    def test_up_says_when_the_daemon_dies_meanwhile(self):
        self.script(status=status(app("starting")), dies_after_events=True)
        done = self.run_it("up", "-f", str(self.config), "--detach")
        self.assertEqual(done.returncode, 1)
        self.assertIn("understudyd.log", done.stderr)

    def test_a_run_directory_of_somebody_else_is_not_called_empty(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        self.up()
        os.chmod(self.base, 0o755)
        done = self.run_it("status", user=65534)
        self.assertEqual(done.returncode, 1)
        self.assertIn("permission denied", done.stderr)
        self.assertIn("root", done.stderr)
        self.assertNotIn("understudy up", done.stderr)

    # ---- bringing up ----

    def test_up_returns_when_an_application_will_not_start(self):
        self.script(status=status(app("waiting", trouble="alpha is avoided")), events=[READY, START_FAILED])
        done = self.run_it("up", "-f", str(self.config), "--detach")
        self.assertEqual(done.returncode, 1)
        self.assertIn("exit status 127", done.stderr)
        self.assertIn("not everything is up", done.stderr)
        self.assertEqual(self.run_it("status").returncode, 0)  # the daemon goes on

    def test_up_returns_when_a_guest_fails_again_and_again(self):
        failed = event("guest-launch-failed", "alpha could not be launched", guest="alpha")
        self.script(status=status(app("waiting", trouble="alpha is launching"), guest="launching"), events=[failed] * 3)
        done = self.run_it("up", "-f", str(self.config), "--detach")
        self.assertEqual(done.returncode, 1)
        self.assertIn("3 times in a row", done.stderr)

    def test_up_returns_when_nothing_happens_and_something_is_missing(self):
        self.script(status=status(app("waiting", trouble="it waits: too little memory")))
        done = self.run_it("--timeout", "300ms", "up", "-f", str(self.config), "--detach")
        self.assertEqual(done.returncode, 1)
        self.assertIn("too little memory", done.stderr)

    def test_up_waits_for_a_slow_start(self):
        self.script(status=status(app("starting")))
        child = self.popen("--timeout", "100ms", "up", "-f", str(self.config), "--detach", stdout=subprocess.PIPE)
        self.read_until(child.stdout.fileno(), "alpha is ready")
        with self.assertRaises(subprocess.TimeoutExpired):
            child.wait(timeout=2)  # many times the silence that ends it when nothing is under way

    def test_up_tells_why_the_daemon_did_not_start(self):
        self.script(refuse="the pool cannot be made: no space")
        done = self.run_it("up", "-f", str(self.config), "--detach")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no space", done.stderr)

    def test_a_configuration_from_standard_input(self):
        self.script()
        for name in ("/dev/stdin", "-"):
            checked = self.run_it("check", "-f", name, input=CONFIG, cwd=self.base)
            self.assertEqual(checked.returncode, 0, checked.stderr)
            self.assertIn("1 guest and 1 application;", checked.stdout)
            done = self.run_it("up", "-f", name, "--detach", input=CONFIG, cwd=self.base)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual((self.base / "seen.toml").read_text(), CONFIG)
            self.assertEqual(json.loads((self.base / "seen.json").read_text())["config_dir"], str(self.base))
            self.assertEqual(self.run_it("down").returncode, 0)

    def test_a_configuration_from_a_pipe(self):
        fifo = self.base / "fifo"
        os.mkfifo(fifo)
        self.script()
        child = self.popen("up", "-f", str(fifo), "--detach", stdout=subprocess.PIPE, cwd=self.base)
        fifo.write_text(CONFIG)
        self.assertEqual(child.wait(timeout=LIMIT_S), 0, child.stdout.read())

    # ---- planned takeovers ----

    def test_takeover_waits_and_tells_how_it_ended(self):
        moved = {**app(), "active": "beta", "epoch": 2}
        report = {"application": "web", "cause": "planned switchover", "from": "alpha", "to": "beta", "epoch": 2,
                  "result": "serving", "phases": [], "total_ms": 12.5, "bytes_moved": 0, "bytes_zeroed": 0, "bytes_copied": 0}
        done = event("takeover-done", "web serves on beta", application="web", guest="beta")
        self.up(status_after_takeover=status(moved), report=report)
        self.rewrite(events=[done])
        result = self.run_it("takeover", "web")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("alpha -> beta", result.stdout)
        self.assertEqual(json.loads(self.run_it("report", "web", "--json").stdout)["to"], "beta")

    def test_takeover_that_waits_for_something_says_what(self):
        self.up(status_after_takeover=status(app("waiting", trouble="it waits: beta is booting", epoch=1)))
        result = self.run_it("--timeout", "300ms", "takeover", "web")
        self.assertEqual(result.returncode, 1)
        self.assertIn("beta is booting", result.stderr)

    def test_takeover_that_leaves_it_where_it_was_is_no_success(self):
        done = event("app-serving", "web serves on alpha", application="web", guest="alpha")
        self.up(status_after_takeover=status(app(epoch=2)), report={"application": "web", "phases": []})
        self.rewrite(events=[done])
        result = self.run_it("takeover", "web")
        self.assertEqual(result.returncode, 1)
        self.assertIn("serves on alpha as before", result.stderr)

    def test_takeover_without_waiting(self):
        self.up()
        self.assertEqual(self.run_it("takeover", "web", "--no-wait").returncode, 0)

    def test_takeover_says_that_state_is_lost(self):
        self.assertIn("is lost", self.run_it("takeover", "--help").stdout)
        self.up()
        self.assertIn("is lost", self.run_it("status").stdout)
        self.assertIn("is lost", self.run_it("check", "-f", str(self.config)).stdout)

    def test_logs_shows_what_each_guest_kept(self):
        self.up(logs={"application": "web", "number": 1, "complete": True,
                      "guests": [{"guest": "alpha", "text": "one\ntwo\n"}, {"guest": "beta", "text": ""}]})
        done = self.run_it("logs", "web")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("    | two", done.stdout)
        self.assertIn("web on beta: it has printed nothing", done.stdout)

    # ---- check ----

    def test_check_while_it_runs_calls_nobody_a_stranger(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f'address = {{ listen = "127.0.0.1:{taken.getsockname()[1]}", port = 80 }}\n'
            self.config.write_text(CONFIG + address)
            self.assertIn("is in use", self.run_it("check", "-f", str(self.config)).stderr)
            self.config.write_text(CONFIG)
            self.up()
            self.config.write_text(CONFIG + address)
            done = self.run_it("check", "-f", str(self.config))
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("not looked at: understudyd runs here", done.stdout)

    def test_check_names_what_it_did_not_look_into(self):
        done = self.run_it("check", "-f", str(self.config), "--json")
        self.assertTrue(json.loads(done.stdout)["ok"], done.stdout)
        self.assertIn("initramfs.cpio was not looked into", " ".join(json.loads(done.stdout)["not_looked_at"]))

    def test_check_passes_every_example(self):
        examples = sorted((ROOT / "examples").glob("*.toml"))
        self.assertGreaterEqual(len(examples), 4)
        for example in examples:
            text = example.read_text().replace('"../build/guest/', f'"{self.base}/')
            text = re.sub(r"127\.0\.0\.1:\d+\"", lambda _: f'127.0.0.1:{free_port()}"', text)
            done = self.run_it("check", "-f", "-", input=text)
            self.assertEqual(done.returncode, 0, f"{example.name}: {done.stderr}")

    # ---- usage ----

    def test_every_command_of_the_documents_is_one(self):
        """Without a daemon each can only fail, with 1; wrong usage is 2."""
        found = set()
        for file in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.toml")]:
            for command in re.findall(r"(?:`|^(?:    |#   )(?:build/bin/)?)understudy ([a-z][^`\n#]*)", file.read_text(), re.M):
                found.add(" ".join(command.split()))
        self.assertGreater(len(found), 20)
        for command in sorted(found):
            words = [{"APP": "web", "NAME": "web", "TARGET": "web", "X": "web"}.get(word, word) for word in command.split()]
            if "..." in command or "…" in command or "DIR" in words or words[0] in ("check", "up", "down"):
                continue
            if len(words) == 1:  # its name alone
                self.assertEqual(self.run_it(words[0], "--help").returncode, 0, words[0])
                continue
            done = self.run_it(*shlex.split(" ".join(words)))
            self.assertEqual(done.returncode, 1, f"understudy {command}: {done.stderr}")

    def test_the_image_is_not_built_in_a_directory_of_somebody_else(self):
        cache = self.base / "cache"
        cache.mkdir()
        (self.base / "agent").write_bytes(b"")
        (cache / "lock").write_text("somebody's\n")
        (cache / "thesis.tex").write_text("years of work\n")
        done = subprocess.run([str(ROOT / "guest" / "build-image"), "--agent", str(self.base / "agent"), "--out",
                               str(self.base / "out"), "--cache", str(cache)], capture_output=True, text=True, timeout=LIMIT_S)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("files of somebody else's", done.stderr)
        self.assertEqual(sorted(path.name for path in cache.iterdir()), ["lock", "thesis.tex"])

    def test_a_mistyped_command_is_answered_with_the_nearest(self):
        for typed, wanted in (("statsu", "status"), ("takover", "takeover"), ("event", "events")):
            done = self.run_it(typed)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"did you mean {wanted}", done.stderr)

    def test_up_with_a_bare_file_hints_at_f(self):
        done = self.run_it("up", "web.toml")
        self.assertEqual(done.returncode, 2)
        self.assertIn("understudy up -f web.toml", done.stderr)

    def test_every_program_tells_its_version(self):
        version = next(line.split()[2] for line in (ROOT / "CMakeLists.txt").read_text().splitlines()
                       if line.startswith("project(understudy VERSION"))
        found = 0
        for program in (BUILD / "bin").iterdir():
            executable = program.is_file() and program.stat().st_mode & stat.S_IXUSR
            if not executable or not program.name.startswith("understudy"):
                continue
            done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=LIMIT_S, check=False)
            self.assertEqual(done.returncode, 0, f"{program.name}: {done.stderr}")
            self.assertIn(f"{program.name} {version}", done.stdout)
            found += 1
        self.assertGreaterEqual(found, 3)

    def test_wrong_usage_is_told_from_what_could_not_be_done(self):
        for args in (["--timeout", "soon", "status"], ["--timeout", "0 s", "status"], ["no-such-command"], []):
            self.assertEqual(self.run_it(*args).returncode, 2, args)


if __name__ == "__main__":
    if not (BUILD / "bin" / "understudy").exists():
        sys.exit(f"{BUILD}/bin/understudy is not built")
    unittest.main(verbosity=2)
