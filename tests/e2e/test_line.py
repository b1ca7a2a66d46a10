"""The whole line, as its parts really are: train tiny -> export with proof -> serve a process -> ask over HTTP."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytest.importorskip("torch", reason="the line begins with training")

from bundle.store import Bundle
from loadtests.server import service
from runtime.predictor import load_predictor

ROOT = Path(__file__).parents[2]


def test_every_test_picture_gets_the_proven_answer_over_http(tiny_bundle: Bundle) -> None:
    model = tiny_bundle.folder.parent
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.truth", str(model)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "359 test samples: accuracy" in done.stdout


def test_golden_answers_over_http_are_those_of_a_predictor_here(tiny_bundle: Bundle) -> None:
    predictor = load_predictor(tiny_bundle)
    samples = tiny_bundle.golden()
    with service(tiny_bundle.folder.parents[1]) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for sample in samples:
            answer = client.post("/v1/classify", content=sample.raw, headers={"content-type": sample.media_type})
            (prediction,) = answer.json()["predictions"]
            (expected,) = predictor.predict([sample.raw])
            assert prediction["label"] == expected.label  # type: ignore[attr-defined]
            assert prediction["score"] == pytest.approx(expected.score, abs=1e-6)  # type: ignore[attr-defined]


@pytest.mark.whole
def test_the_bench_runs_and_finds_no_wrong_answer(tiny_bundle: Bundle, tmp_path: Path) -> None:
    repository, name = tiny_bundle.folder.parent.parent, tiny_bundle.folder.parent.name
    chosen = ["--models", name, "--connections", "1", "8", "--seconds", "0.3", "--rounds", "1", "--parts", "loads"]
    command = [sys.executable, "-m", "loadtests.bench", str(repository), *chosen]
    done = subprocess.run(
        [*command, "--json-file", str(tmp_path / "bench.json")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of (b)" in done.stdout
    assert (tmp_path / "bench.json").exists()
