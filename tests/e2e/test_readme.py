"""What the README says runs: `make demo` with the curl line it prints, and every other command in it."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the demo trains")

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
START_LIMIT_S = 600
PNG = b"\x89PNG"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


def start(command: str, cwd: Path, log: Path, **environment: str) -> subprocess.Popen[str]:
    with log.open("w", encoding="utf-8") as output:
        return subprocess.Popen(
            ["bash", "-ec", command],
            cwd=cwd, stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env=os.environ | environment,
        )  # fmt: skip


def wait_for(pattern: str, log: Path, process: subprocess.Popen[str]) -> str:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        found = re.search(pattern, log.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[0].strip()
        time.sleep(0.2)
    raise AssertionError(f"no {pattern!r} in:\n{log.read_text(encoding='utf-8')}")


DEMO_MODELS = {
    "digits_cnn": rb'"label":"0"',  # the first golden sample is a zero
    "minilm": rb'"embedding":',
    "scratches_painted": PNG,
    "shapes_detector": rb'"box_xyxy":',
    "shapes_unet": rb'"mask_png":',
}
"""Model of the demo -> what the answer to its curl line holds, or the file that it writes begins with."""


@pytest.mark.timeout(900)
def test_the_demo_serves_every_family_and_its_curl_lines_work_twice(tmp_path: Path) -> None:
    for attempt in ("fresh", "again"):
        port = free_port()
        log = tmp_path / f"{attempt}.log"
        process = start(f"make demo DEMO={tmp_path}/demo PORT={port}", ROOT, log)
        try:
            for model, expected in DEMO_MODELS.items():
                curl = wait_for(rf"^ *curl .*model={model}\b.*$", log, process)
                asked = subprocess.run(["bash", "-c", f"{curl} -sS"], capture_output=True, check=True, cwd=tmp_path)
                answer = asked.stdout or (tmp_path / f"{model}.png").read_bytes()
                assert expected in answer, f"{curl}: {answer[:300]!r}"
        finally:
            stop(process)
        assert "Traceback" not in log.read_text(encoding="utf-8")
    for model in DEMO_MODELS:
        versions = [entry.name for entry in (tmp_path / "demo/models" / model).iterdir()]
        assert versions == ["1"], "the second demo reuses what is there"
    assert "epoch" not in (tmp_path / "again.log").read_text(encoding="utf-8")


def test_every_other_command_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    port = free_port()
    lines = [line for block in BLOCKS for line in block.splitlines() if line and not line.startswith("make ")]
    serve = next(i for i, line in enumerate(lines) if line.startswith("modelyard serve"))
    path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
    before = "\n".join(lines[:serve])
    subprocess.run(
        ["bash", "-ec", before], cwd=tmp_path, env=os.environ | {"PATH": path}, check=True, capture_output=True
    )
    log = tmp_path / "serve.log"
    process = start(lines[serve].replace("8000", str(port)).removesuffix(" &"), tmp_path, log, PATH=path)
    try:
        wait_for(r"is ready", log, process)
        for line in lines[serve + 1 :]:
            asked = line.replace("8000", str(port))
            command, environment = ["bash", "-ec", asked], os.environ | {"PATH": path}
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
            assert '{"error"' not in done.stdout, f"{line}: {done.stdout}"
    finally:
        stop(process)


def test_every_make_command_of_the_readme_is_a_target() -> None:
    commands = re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)
    assert {"demo", "test"} <= set(commands)
    for target in set(commands):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{target}: {done.stderr}"
