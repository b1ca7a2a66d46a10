"""Tools install themselves, or say exactly what to do; nothing is installed by these tests."""

import os
import subprocess
from pathlib import Path

import pytest

from k8s import trees

TOOLS, KUBECTL = trees.HERE / "tools.sh", trees.HERE / "kubectl.sh"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def run(path: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment, timeout=60)


def as_user(tmp_path: Path, number: int) -> Path:
    """A machine on which we are this user, and apt-get writes down what it was told and brings `brought`."""
    machine = tmp_path / "bin"
    program(machine, "id", f"echo {number}")
    bring = f'printf "#!/bin/sh\\n" > {machine}/brought; chmod +x {machine}/brought'
    program(machine, "apt-get", f'echo "$@" >> {tmp_path}/told; case "$*" in *package*) {bring};; esac')
    return machine


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    done = run(as_user(tmp_path, 0), str(TOOLS), "sh=dash", "cat=coreutils")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "told").exists()


def test_root_gets_what_is_missing(tmp_path: Path) -> None:
    done = run(as_user(tmp_path, 0), str(TOOLS), "sh=dash", "brought=package")
    assert done.returncode == 0, done.stderr
    assert "install -y --no-install-recommends package" in (tmp_path / "told").read_text(encoding="utf-8")


def test_a_package_that_brings_something_else_is_told(tmp_path: Path) -> None:
    done = run(as_user(tmp_path, 0), str(TOOLS), "misspelt=package")
    assert done.returncode == 1
    assert "brings no misspelt" in done.stderr


def test_others_are_told_the_command(tmp_path: Path) -> None:
    done = run(as_user(tmp_path, 1000), str(TOOLS), "brought=package", "other=parcel")
    assert done.returncode == 1
    assert "sudo apt-get install -y --no-install-recommends package parcel" in done.stderr
    assert not (tmp_path / "told").exists()


@pytest.mark.parametrize("word", ["kubectl", "=kubectl", "kubectl="])
def test_a_word_of_another_form_is_refused(tmp_path: Path, word: str) -> None:
    done = run(as_user(tmp_path, 0), str(TOOLS), word)
    assert done.returncode == 2
    assert word in done.stderr
    assert "PROGRAM=PACKAGE" in done.stderr


def test_a_kubectl_that_is_new_enough_is_taken(tmp_path: Path) -> None:
    machine = as_user(tmp_path, 1000)
    program(machine, "kubectl", 'echo "Kustomize Version: v5.5.0"')
    done = run(machine, str(KUBECTL), str(tmp_path / "tools"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tools/kubectl").resolve() == machine / "kubectl"


@pytest.mark.skipif(not KEYS.exists(), reason="without Debian's keys nothing can be verified, and nothing is fetched")
def test_an_old_one_is_not_and_debians_newer_is_looked_for_without_touching_the_system(tmp_path: Path) -> None:
    machine = as_user(tmp_path, 1000)
    program(machine, "kubectl", 'echo "Client Version: v1.20.2"')
    program(machine, "dpkg-deb", "exit 3")
    done = run(machine, str(KUBECTL), str(tmp_path / "tools"))
    assert done.returncode != 0
    assert not (tmp_path / "tools/kubectl").exists()
    told = (tmp_path / "told").read_text(encoding="utf-8").splitlines()
    changing = [line for line in told if "update" in line or "download" in line]
    assert len(changing) == 2
    assert all("Dir::State::lists=/" in line and "sourceparts=/dev/null" in line for line in changing)
    assert not any(" install " in line for line in told)
