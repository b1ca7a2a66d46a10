"""The Dockerfiles say what is: what they copy exists, what they install and set is known, what they ask answers."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from dockerfile import Copy, Stage, read
from healthcheck import PATH as LIVE_PATH

from bundle.store import Bundle
from loadtests.server import free_port, ready, start_service
from serving.settings import Settings

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
SERVING = [file for file in FILES if "serving" in file.name]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
COMPILERS = re.compile(r"\b(gcc|g\+\+|clang|build-essential|nvcc|cuda-toolkit|python3?-dev)\b")
IN_THE_BASE = {
    *("ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"),  # glibc
    *("libgcc_s.so.1", "libstdc++.so.6", "libz.so.1"),  # what apt and dpkg themselves need
}


def hadolint() -> str | None:
    return shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def image(file: Path) -> Stage:
    return read(file)[-1]


def kept_by_dockerignore(path: str) -> bool:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    return "*" in lines and any(path == one or path.startswith(f"{one}/") for one in kept)


def test_there_is_an_image_for_each_use() -> None:
    assert [file.suffix for file in FILES] == [".loadtests", ".scoring", ".serving-cpu", ".serving-gpu", ".training"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix)
def test_every_path_that_is_copied_exists(file: Path) -> None:
    stages = read(file)
    names = {stage.name for stage in stages}
    copies = [step for stage in stages for step in stage.steps if isinstance(step, Copy)]
    assert copies
    assert {step.stage for step in copies if step.stage} <= names
    for source in (source for step in copies if not step.stage for source in step.sources):
        assert (ROOT / source).exists(), source
        assert kept_by_dockerignore(source.rstrip("/")), f"{source} is kept out by .dockerignore"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix)
def test_the_wheel_is_built_from_all_that_it_ships(file: Path) -> None:
    wheel = next(stage for stage in read(file) if stage.name == "wheel")
    copied = {source.rstrip("/") for step in wheel.steps if isinstance(step, Copy) for source in step.sources}
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shipped = config["tool"]["hatch"]["build"]["targets"]["wheel"]["include"]
    assert {one.strip("/") for one in shipped} <= copied


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix)
def test_every_extra_that_is_installed_exists(file: Path) -> None:
    stages = read(file)
    given = {name: value for stage in stages for name, value in stage.arguments.items()}
    commands = re.sub(r"\$\{(\w+)\}", lambda match: given[match[1]], "\n".join(stage.commands for stage in stages))
    named = [extra for found in re.findall(r"\.\[([\w,]+)\]", commands) for extra in found.split(",")]
    assert named
    assert set(named) <= set(EXTRAS)
    assert "--constraint constraints.txt" in commands


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix)
def test_the_image_is_not_root_and_holds_no_compiler(file: Path) -> None:
    last = image(file)
    user, group = map(int, last.other["USER"].split(":"))
    assert user > 0
    assert group > 0
    assert not COMPILERS.search(last.commands)
    assert "apt-get" not in last.commands
    assert ":" in last.base, "the base image has no tag"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix)
def test_the_image_says_what_it_is_and_how_it_is_stopped(file: Path) -> None:
    last = image(file)
    assert last.labels["org.opencontainers.image.title"] == f"modelyard-{file.suffix[1:]}"
    assert last.labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert last.other["STOPSIGNAL"] == "SIGTERM"
    program, *arguments = last.exec_form("ENTRYPOINT")
    assert (program, arguments) == ("modelyard", []) or file.suffix == ".loadtests"


def test_the_image_of_load_tests_runs_the_users_that_it_copies() -> None:
    last = image(ROOT / "docker/Dockerfile.loadtests")
    program, flag, script = last.exec_form("ENTRYPOINT")
    assert (program, flag) == ("locust", "--locustfile")
    (copied,) = [step for step in last.steps if isinstance(step, Copy) and not step.stage]
    assert script.startswith(copied.target)
    assert (ROOT / copied.sources[0] / script.removeprefix(copied.target)).is_file()


@pytest.mark.parametrize("file", SERVING, ids=lambda file: file.suffix)
def test_what_a_serving_image_sets_are_settings(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = image(file)
    given = {name: value for name, value in last.environment.items() if name.startswith("MODELYARD_")}
    unknown = {name.removeprefix("MODELYARD_").lower() for name in given} - set(Settings.model_fields)
    assert unknown == set()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.host == "0.0.0.0"  # noqa: S104 - a container's own network
    assert settings.port == Settings.model_fields["port"].default
    assert last.other["EXPOSE"].split() == [str(settings.port), str(settings.grpc_port), str(settings.metrics_port)]
    assert settings.device == ("cuda" if "gpu" in file.name else "cpu")


def test_only_images_that_may_see_a_gpu_ask_the_host_for_its_driver() -> None:
    asking = {file.suffix for file in FILES if "NVIDIA_VISIBLE_DEVICES" in image(file).environment}
    assert asking == {".scoring", ".serving-gpu", ".training"}


@pytest.mark.parametrize("file", SERVING, ids=lambda file: file.suffix)
def test_the_health_check_holds_while_the_service_lives_and_not_after(file: Path, fake_bundle: Bundle) -> None:
    last = image(file)
    program, script = last.exec_form("HEALTHCHECK")
    assert program == "python"
    copied = {step.target: step.sources[0] for step in last.steps if isinstance(step, Copy) and not step.stage}
    service = start_service(fake_bundle.folder.parents[1])
    command = [sys.executable, str(ROOT / copied[script])]
    environment = os.environ | {"MODELYARD_PORT": str(service.port)}
    with ready(service):
        assert subprocess.run(command, env=environment, check=False).returncode == 0
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"no answer on port {service.port}" in done.stderr


@pytest.mark.parametrize("named", [("TLS_CERT", "TLS_KEY"), ("TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA")])
def test_the_health_check_speaks_tls_where_the_service_does(
    named: tuple[str, ...], fake_bundle: Bundle, tmp_path: Path
) -> None:
    trustme = pytest.importorskip("trustme", reason="certificates are made by trustme, of the dev extra")
    authority = trustme.CA()
    pem = tmp_path / "all.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    authority.cert_pem.write_to_path(str(pem), append=True)
    port = free_port()
    given = {"MODELYARD_PORT": str(port)} | {f"MODELYARD_{name}": str(pem) for name in named}
    serve = [sys.executable, "-m", "serving", str(fake_bundle.folder.parents[1])]
    check = [sys.executable, str(ROOT / "docker/healthcheck.py")]
    with subprocess.Popen(serve, cwd=ROOT, env=os.environ | given, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert any("startup complete" in line for line in process.stderr)
        code = subprocess.run(check, env=os.environ | given, check=False).returncode
        process.terminate()
        process.communicate(timeout=30)
    assert code == 0


def test_the_health_check_asks_what_the_service_answers() -> None:
    assert LIVE_PATH in (ROOT / "serving/oip/health.py").read_text(encoding="utf-8")


@pytest.mark.skipif(not hadolint(), reason="hadolint is not installed; it comes with the dev extra")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix)
def test_the_linter_of_dockerfiles_has_nothing_to_say(file: Path) -> None:
    done = subprocess.run([str(hadolint()), str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(not shutil.which("readelf"), reason="readelf (binutils) is not installed")
@pytest.mark.whole
def test_no_installed_wheel_needs_a_library_that_the_slim_base_lacks() -> None:
    """The images install nothing by apt-get, so everything else has to be in the wheels."""
    site = Path(sys.executable).parents[1] / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    libraries = [path for path in site.rglob("*.so*") if path.is_file()]
    assert libraries
    done = subprocess.run(["readelf", "-d", *map(str, libraries)], capture_output=True, text=True, check=False)
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", done.stdout))
    assert needed - {path.name for path in libraries} - IN_THE_BASE == set()
