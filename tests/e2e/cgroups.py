"""What a QEMU may use of its host at most, where the kernel has cgroups v2 with the controllers that it takes. The host
of these tests may not have them, a guest's kernel has: the code that starts QEMU runs in a guest, and starts others."""
import pathlib
import subprocess
import tempfile

from consoles import newc
from harness import BUILD, IMAGE, Failed

PROGRAM = BUILD / "bin" / "guest_cgroup_test"


def boot(init):
    """What this program says on the console, as the first and only one of a guest."""
    with tempfile.TemporaryDirectory(prefix="understudy-") as directory:
        initramfs = pathlib.Path(directory) / "initramfs.cpio"
        initramfs.write_bytes(newc("init", init) + newc("TRAILER!!!", b"", 0))
        done = subprocess.run(
            ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
             "-machine", "q35", "-accel", "tcg,tb-size=64", "-cpu", "qemu64,+rdrand", "-m", "640M",
             "-kernel", str(IMAGE / "vmlinux"), "-initrd", str(initramfs),
             "-append", "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check random.trust_cpu=on"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=280, check=False)
    return done.stdout + done.stderr


def case_cgroups():
    """A delegated cgroup is divided; who takes memory without end is ended by the limit of its own cgroup, and nobody
    else; areas are charged as the decision says; processes end at their limit."""
    if not PROGRAM.exists():
        raise Failed(f"{PROGRAM} was not built: `ninja guest_cgroup_test`, which a build with sanitizers cannot")
    said = boot(PROGRAM.read_bytes())
    if "FAILED" in said or "all tried" not in said:
        raise Failed(f"in the guest:\n{said}")
