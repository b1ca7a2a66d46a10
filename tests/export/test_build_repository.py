"""`modelyard build-engine` on a repository: every model that is meant for the GPU, on a GPU that the CPU plays."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the bundle is exported from torch")
trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX belongs to the dev extra")

from bundle.store import MANIFEST_FILE, Bundle, is_repository, open_bundle  # noqa: E402
from export import build_engine, device_commands  # noqa: E402
from export.tensorrt import build_plan  # noqa: E402
from modelyard import main  # noqa: E402
from tests.builders import write_fake_bundle  # noqa: E402
from tests.export.benches import few_runs, gpu_bench, off  # noqa: E402

__all__ = ["few_runs"]
Run = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def models(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A repository with one model that is meant for GPUs."""
    models = tmp_path / "models"
    shutil.copytree(tiny_bundle.folder.parent, models / tiny_bundle.manifest.name)
    return models


@pytest.fixture
def run(models: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Run:
    """The command on a GPU that is played: exit code, lines of standard output, standard error."""
    monkeypatch.setattr(device_commands, "_tensorrt", lambda _: trt)

    command = ["build-engine", str(models), "--engines", str(tmp_path / "engines"), "--artefacts", "fp32"]

    def play(*arguments: str, **changes: Any) -> tuple[int, list[str], str]:
        monkeypatch.setattr(device_commands, "bench", lambda *_: gpu_bench(tiny_bundle, **changes))
        capsys.readouterr()
        code = 0
        try:
            main([*command, *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err

    return play


def for_cpus_alone(models: Path, name: str) -> None:
    """A bundle that no artefact of is meant for a GPU."""
    written = open_bundle(write_fake_bundle(models, name))
    artefacts = {key: one.model_copy(update={"device": "cpu"}) for key, one in written.manifest.artefacts.items()}
    draft = written.manifest.model_copy(update={"artefacts": artefacts, "digest": ""})
    (written.folder / MANIFEST_FILE).write_text(draft.sealed().model_dump_json())


def test_every_model_is_built_once_and_then_found(run: Run, models: Path, tmp_path: Path) -> None:
    code, printed, _ = run()
    assert code == 0
    assert [Path(path).suffix for path in printed] == [".json"]
    assert all(path.startswith(str(tmp_path / "engines")) for path in printed)
    before = Path(printed[0]).stat().st_mtime_ns
    code, again, told = run()
    assert (code, again, Path(printed[0]).stat().st_mtime_ns) == (0, printed, before)
    assert "there and valid" in told


def test_a_model_for_cpus_is_told_and_skipped(run: Run, models: Path) -> None:
    for_cpus_alone(models, "abacus")
    (models / "notes").mkdir()
    (models / ".hidden").mkdir()
    code, printed, told = run()
    assert (code, len(printed)) == (0, 1)
    assert "abacus version 1: has no fp32 for 'cuda' (it has fp32): skipped" in told


def test_a_model_that_fails_stops_no_other_and_is_the_exit_code(run: Run, models: Path) -> None:
    write_fake_bundle(models, "aaa")  # its artefact is JSON, which no builder reads
    (models / "bbb/1").mkdir(parents=True)
    (models / "bbb/1" / MANIFEST_FILE).write_text("{}")
    code, printed, told = run()
    assert (code, len(printed)) == (1, 1)
    assert "aaa version 1: NO ENGINE: no engine is proven: fp32: " in told
    assert "bbb version 1: NO ENGINE: " in told


def test_an_engine_that_is_refused_is_told(run: Run) -> None:
    code, printed, told = run(trt=off)
    assert (code, printed) == (1, [])
    assert "NO ENGINE: no engine is proven: 'fp32' in tensorrt: values:" in told


def test_only_the_newest_whole_version_is_built(run: Run, models: Path, tiny_bundle: Bundle) -> None:
    (models / tiny_bundle.manifest.name / "7").mkdir()  # somebody is still copying
    assert run()[0] == 0


def test_a_repository_without_a_bundle_is_an_error(run: Run, models: Path) -> None:
    shutil.rmtree(models)
    models.mkdir()
    code, _, told = run()
    assert (code, "holds no bundle (a folder <name>/<version> with a manifest.json)" in told) == (1, True)


def test_what_is_a_repository_is_seen(models: Path, tiny_bundle: Bundle) -> None:
    folder = models / tiny_bundle.manifest.name
    assert [is_repository(path) for path in (models, folder, folder / "1")] == [True, False, False]


def test_two_pods_of_a_node_build_each_engine_once(
    models: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models / tiny_bundle.manifest.name, tmp_path / "copy")
    builds: list[int] = []

    def counted(*arguments: Any) -> Any:
        builds.append(1)
        return build_plan(*arguments)

    monkeypatch.setattr(build_engine, "build_plan", counted)
    monkeypatch.setattr(device_commands, "_tensorrt", lambda _: trt)
    monkeypatch.setattr(device_commands, "bench", lambda *_: gpu_bench(tiny_bundle))
    command = ["build-engine", str(models), "--engines", str(tmp_path / "engines"), "--artefacts", "fp32"]
    failed: list[BaseException] = []

    def pod() -> None:
        try:
            main(command)
        except BaseException as cause:  # noqa: BLE001 - told below
            failed.append(cause)

    pods = [threading.Thread(target=pod) for _ in range(2)]
    for one in pods:
        one.start()
    for one in pods:
        one.join()
    assert (failed, len(builds)) == ([], 1)
