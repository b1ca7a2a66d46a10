"""`python docker/rehearse.py docker/Dockerfile.serving-cpu build/rehearsal`: a Dockerfile's steps without Docker.

Every COPY and RUN of every stage is done in a folder of the stage's own instead of its root; then the image's entry
point is started with the image's environment until its HEALTHCHECK holds, and ended by its STOPSIGNAL. It cannot show
the base image itself, the user or a read-only root. Needs the base image's version of Python, and an index of packages.

Knows steps. Knows nothing of what is built.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from dockerfile import Copy, Run, Stage, Workdir, read

ROOT = Path(__file__).parents[1]
OWN = ("/build", "/models", "/opt", "/wheels", "/work")
"""Where our Dockerfiles put things; in commands and variables these become folders of the rehearsal."""
PORTS = ("MODELYARD_PORT", "MODELYARD_GRPC_PORT", "MODELYARD_METRICS_PORT")
"""Fixed in an image, free ones here."""
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Rehearsal:
    """Stages in a folder."""

    folder: Path

    def place(self, stage: Stage, path: str) -> Path:
        """Where an absolute path of a stage lies here."""
        return self.folder / (stage.name or "image") / path.strip("/")

    def rooted(self, stage: Stage, text: str, binds: dict[str, Path] | None = None) -> str:
        """A text whose absolute paths lead into the stage's folder, or to what is mounted there."""
        for target, real in (binds or {}).items():
            text = text.replace(target, str(real))
        owned = "|".join(OWN)
        # After an option, a quote, a colon or a blank: not in the middle of a path, which is ours already.
        return re.sub(rf"(^|[\s='\":])({owned})(?=[/\s'\":]|$)", lambda m: m[1] + str(self.place(stage, m[2])), text)

    def build(self, stages: list[Stage]) -> None:
        """Do every step.

        Raises:
            subprocess.CalledProcessError: a RUN failed; it has said why.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        base = self.folder / "base"
        subprocess.run([sys.executable, "-m", "venv", str(base)], check=True)
        by_name = {stage.name: stage for stage in stages}
        for stage in stages:
            here = self.place(stage, "/")
            here.mkdir(parents=True)
            environment = os.environ | stage.arguments | {"PATH": f"{base}/bin:{os.environ['PATH']}"}
            for step in stage.steps:
                if isinstance(step, Workdir):
                    here = self.place(stage, step.path)
                    here.mkdir(parents=True, exist_ok=True)
                elif isinstance(step, Copy):
                    self._copy(stage, step, here, by_name)
                else:
                    self._run(stage, step, here, by_name, environment)

    def _copy(self, stage: Stage, step: Copy, here: Path, by_name: dict[str, Stage]) -> None:
        target = self.place(stage, step.target) if step.target.startswith("/") else here / step.target
        into = step.target.endswith("/") or len(step.sources) > 1
        for source in step.sources:
            found = self.place(by_name[step.stage], source) if step.stage else ROOT / source
            if found.is_dir():
                shutil.copytree(found, target, symlinks=True, dirs_exist_ok=True)
            else:
                file = target / found.name if into else target
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(found, file)

    def _run(self, stage: Stage, step: Run, here: Path, by_name: dict[str, Stage], environment: dict[str, str]) -> None:
        binds = {target: self.place(by_name[name], source) for target, (name, source) in step.binds.items()}
        command = self.rooted(stage, step.command, binds)
        print(f"[{stage.name or 'image'}] {command}", flush=True)
        subprocess.run(["sh", "-ec", command], cwd=here, env=environment, check=True)

    def start(self, image: Stage, *arguments: str) -> int:
        """Start the image on a free port until it lives, and stop it; the exit code that it ends with.

        Raises:
            RuntimeError: it ended, or its health check did not hold in time.
        """
        environment = {name: self.rooted(image, value) for name, value in image.environment.items()}
        environment["PATH"] = environment["PATH"].replace("$PATH", os.environ["PATH"])
        environment |= {name: str(_free_port()) for name in PORTS if name in environment}
        command = [*image.exec_form("ENTRYPOINT"), *(arguments or image.exec_form("CMD"))]
        check = [self.rooted(image, word) for word in image.exec_form("HEALTHCHECK")]
        print(f"[image] {shlex.join(command)} with {shlex.join(check)}", flush=True)
        process = subprocess.Popen(_found(command, environment), env=environment)
        try:
            _wait(process, check, environment)
        finally:
            process.send_signal(getattr(signal, image.other["STOPSIGNAL"]))
            code = process.wait(PATIENCE_S)
        return code


def _found(command: list[str], environment: dict[str, str]) -> list[str]:
    """The image's own program, not one of the same name on this machine's path."""
    program = shutil.which(command[0], path=environment["PATH"])
    return [program or command[0], *command[1:]]


def _wait(process: subprocess.Popen[bytes], check: list[str], environment: dict[str, str]) -> None:
    end = time.monotonic() + PATIENCE_S
    check = _found(check, environment)
    while subprocess.run(check, env=environment, stderr=subprocess.DEVNULL, check=False).returncode:
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"it did not live: exit code {process.poll()}; what it printed is above")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def main(file: str, folder: str, *arguments: str) -> int:
    """Build in a folder; start what has a health check."""
    stages = read(Path(file))
    rehearsal = Rehearsal(Path(folder).absolute())
    rehearsal.build(stages)
    image = stages[-1]
    if "CMD" not in image.other.get("HEALTHCHECK", "NONE"):
        return 0
    rehearsal.place(image, "/models").mkdir(exist_ok=True)
    code = rehearsal.start(image, *arguments)
    print(f"it lived, and ended with {code}")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
