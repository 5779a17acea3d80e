"""What the documents tell people to type, typed; and what they are told to see, seen."""
import os
import pathlib
import re
import shutil
import subprocess

from harness import BUILD, IMAGE, ROOT, Failed, Understudy

OURS = ("understudy ", "guest/build-image ", "mkdir ", "echo ", "curl ", "psql ", "for ", "(cd ", "apt-get ", "dpkg ")
LIMIT_S = 240


def blocks(text):
    """The indented blocks of a document, each with the line of prose before it."""
    found, before, block = [], "", []
    for line in [*text.splitlines(), ""]:
        if line.startswith("    "):
            block.append(line[4:])
        elif line.strip():
            if block:
                found.append((before, block))
                block = []
            before = line
        elif block and block[-1]:
            block.append("")
    if block:
        found.append((before, block))
    return found


def is_command(line):
    return line.startswith(OURS) or line.startswith("build/bin/")


class Reader:
    """Follows a document in a folder of its own, which looks like the repository after `make build`."""

    def __init__(self, understudy, folder):
        self.understudy = understudy
        self.folder = folder
        for name in ("examples", "guest"):
            (folder / name).symlink_to(ROOT / name)
        (folder / "build").mkdir()
        (folder / "build" / "bin").symlink_to(BUILD / "bin")
        (folder / "build" / "guest").symlink_to(IMAGE)
        self.environment = {**os.environ, "UNDERSTUDY_RUN_DIR": str(understudy.run_dir),
                            "PATH": f"{self.tools()}:{BUILD / 'bin'}:{os.environ['PATH']}"}
        self.said = ""

    def tools(self):
        """psql is in the image; whoever has it on the host uses that one."""
        tools = self.folder / "tools"
        tools.mkdir()
        if not shutil.which("psql"):
            tree = self.folder / "image"
            subprocess.run(["unsquashfs", "-q", "-n", "-d", str(tree), str(IMAGE / "apps.squashfs")], check=True,
                           stdout=subprocess.DEVNULL)
            libraries = f"{tree}/usr/lib/x86_64-linux-gnu:{tree}/lib/x86_64-linux-gnu"
            (tools / "psql").write_text(f"#!/bin/sh\nexec {tree}/lib64/ld-linux-x86-64.so.2 --library-path {libraries} "
                                        f"{tree}/usr/lib/postgresql/15/bin/psql \"$@\"\n")
            (tools / "psql").chmod(0o755)
        return tools

    def epochs(self):
        return [app["epoch"] for app in self.understudy.status()["applications"]]

    def type(self, line):
        fault = "understudy fault" in line
        before = self.epochs() if fault else []
        done = subprocess.run(["bash", "-c", line], cwd=self.folder, env=self.environment, capture_output=True, text=True,
                              timeout=LIMIT_S, check=False)
        if done.returncode != 0:
            raise Failed(f"`{line}`: exit status {done.returncode}\n{done.stdout}{done.stderr}{self.understudy.log()}")
        self.said = done.stdout
        if fault:  # as long as nobody has noticed it, all is well
            self.understudy.wait_for(lambda _: self.epochs() != before, "the takeover", LIMIT_S)

    def settle(self):
        """As a person does who looks before typing on: everything is up and protected again."""
        def met(_):
            return all(app["state"] == "serving" and app["protected"] for app in self.understudy.status()["applications"])
        self.understudy.wait_for(met, "everything up again", LIMIT_S)

    def follow(self, lines):
        """One block: commands, and between empty lines what the last of them shows. Returns how many were typed."""
        typed = 0
        for part in "\n".join(lines).strip("\n").split("\n\n"):
            if is_command(part):
                typed += self.type_all(part.splitlines())
            elif part.strip() not in self.said:
                raise Failed(f"the document shows {part.strip()!r}, the command said {self.said!r}")
        return typed

    def type_all(self, lines):
        typed = 0
        for line in lines:
            line = re.sub(r"\s+#.*", "", line)
            if not line:
                continue
            if line.startswith(("understudy takeover", "understudy rehearse")):
                self.settle()
            self.type(line)
            typed += 1
            if line.startswith("understudy fault"):
                self.settle()
        return typed


def follow_document(text, least):
    """Types what the text says to type; `least` commands at least, lest it has another form and nothing was found."""
    with Understudy("") as understudy:
        reader = Reader(understudy, understudy.base)
        typed = 0
        for said, lines in blocks(text):
            if said.rstrip().endswith(".toml`:"):
                (understudy.base / said.strip().strip("`:")).write_text("\n".join(lines) + "\n")
            elif not any("memcached" in line for line in lines):  # that needs the package archive, which may be out of reach
                typed += reader.follow(lines)
        if typed < least:
            raise Failed(f"only {typed} commands were found: has the document another form?")
        understudy.check_nothing_left()


OWN = ROOT / "docs" / "your-own-application.md"


def case_own_application():
    """docs/your-own-application.md, word by word: a web server with files of its own."""
    follow_document(OWN.read_text().partition("## PostgreSQL")[0], 11)


def case_postgresql():
    """The same, PostgreSQL."""
    follow_document(OWN.read_text().partition("## PostgreSQL")[2].partition("## ")[0], 6)


def case_examples():
    """What two examples say at their beginning, typed; the others are typed by the cases above."""
    for name in ("mutual-standby", "hook"):
        head = (ROOT / "examples" / f"{name}.toml").read_text().partition("[pool]")[0]
        lines = [line.removeprefix("#   ") for line in head.splitlines() if line.startswith("#   understudy ")]
        if len(lines) < 3:
            raise Failed(f"only {len(lines)} commands were found in {name}.toml: has it another form?")
        with Understudy("") as understudy:
            Reader(understudy, understudy.base).type_all(lines)
            understudy.check_nothing_left()


def case_readme():
    """The README's commands, in its order, with its example."""
    text = (ROOT / "README.md").read_text()
    using = next(lines for _, lines in blocks(text[text.index("## Using it"):]))
    with Understudy("") as understudy:
        reader = Reader(understudy, understudy.base)
        for line in using:
            command = re.sub(r"\s+#.*", "", line).strip().removeprefix("build/bin/")
            if not command or not command.startswith("understudy "):
                continue
            if command.endswith("events --follow"):
                follower = subprocess.Popen(["bash", "-c", "exec " + command], cwd=reader.folder, env=reader.environment,
                                            stdout=subprocess.PIPE, text=True)
                if not follower.stdout.readline():
                    raise Failed("events --follow shows nothing")
                follower.terminate()
                follower.wait()
                continue
            if command.startswith(("understudy takeover", "understudy rehearse")):
                reader.settle()
            reader.type(command)
            if command.startswith("understudy stop"):
                understudy.wait_for(lambda _: understudy.app()["state"] == "stopped", "Redis stopped")
                reader.type("understudy start redis")
        understudy.check_nothing_left()
