"""What drills need of a machine: mounts that fill, hang and go, and the exact reason where it does not have them.

Knows Linux. Knows nothing of the service.
"""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE_S = 15.0
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
MEMORY_GROUP = Path("/sys/fs/cgroup/memory")


def needs_root() -> None:
    """Skip where this user may not mount."""
    if os.geteuid() != 0:
        pytest.skip(f"mounts a file system, which needs root; this is user {os.geteuid()}")
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"mounts a file system, which root may not do here: {tried.stderr.strip()}")


def needs(program: str, package: str) -> None:
    """Skip where a program is missing."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}; apt-get install -y {package}")


@contextmanager
def tmpfs(folder: Path, size: str = "8m") -> Iterator[Path]:
    """A file system of its own in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    mount(folder, size)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def mount(folder: Path, size: str = "8m") -> None:
    """Put an empty file system there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "drill", str(folder)], check=True)


class Mirror:
    """A folder seen through a process of its own (FUSE), which can be stopped, slowed and killed."""

    def __init__(self, of: Path, at: Path, *options: str) -> None:
        needs_root()
        needs("bindfs", "bindfs")
        if not Path("/dev/fuse").exists():
            pytest.skip("needs FUSE, and there is no /dev/fuse")
        self.at, self._of, self._options = at, of, options
        at.mkdir(parents=True, exist_ok=True)
        self.mount()

    def mount(self) -> None:
        """Begin; the system is told to remember nothing, so that every look reaches the process."""
        remember = "attr_timeout=0,entry_timeout=0,negative_timeout=0"
        command = ["bindfs", "-f", "-o", remember, *self._options, str(self._of), str(self.at)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_S
        while not os.path.ismount(self.at):
            assert time.monotonic() < deadline, f"bindfs did not mount {self.at}"
            time.sleep(0.02)

    def hang(self) -> None:
        """Answer nothing from now on."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again, also what was asked meanwhile."""
        self.process.send_signal(signal.SIGCONT)

    def die(self) -> None:
        """Leave a mount that nobody answers for."""
        self.process.kill()
        self.process.wait()

    def unmount(self) -> None:
        """Take the mount away, whoever still uses it."""
        self.process.kill()
        self.process.wait()
        subprocess.run(["umount", "-l", str(self.at)], check=False, capture_output=True)


@contextmanager
def mirrored(of: Path, at: Path, *options: str) -> Iterator[Mirror]:
    """A mirror that is gone at the end."""
    mirror = Mirror(of, at, *options)
    try:
        yield mirror
    finally:
        mirror.unmount()


def clock(folder: Path) -> tuple[Path, dict[str, str]]:
    """A file that says how far the clock is off, like "+1d", and the environment of a process that believes it."""
    if not FAKETIME.exists():
        pytest.skip(f"needs {FAKETIME}; apt-get install -y faketime")
    file = folder / "clock"
    file.write_text("+0\n")
    return file, {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # as the system's: nobody sets that one
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
        "NO_FAKE_STAT": "1",
    }


@contextmanager
def memory_group(name: str, limit_bytes: int) -> Iterator[Path]:
    """A group of processes that the kernel keeps within a limit of memory."""
    needs_root()
    if not (MEMORY_GROUP / "memory.limit_in_bytes").exists():
        pytest.skip(f"needs the memory controller of control groups (v1) at {MEMORY_GROUP}")
    group = MEMORY_GROUP / name
    try:
        group.mkdir()
    except OSError as cause:
        pytest.skip(f"no control group can be made: {cause}")
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        yield group
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            (MEMORY_GROUP / "cgroup.procs").write_text(pid)
        group.rmdir()


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def num_files(pid: int) -> int:
    """Descriptors that a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def allow_files(number: int) -> None:
    """Let this process open so many files, or skip."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= number:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, max(hard, number)))
    except (ValueError, OSError):
        pytest.skip(f"needs {number} open files, and this user may open {hard}; ulimit -n {number}")
