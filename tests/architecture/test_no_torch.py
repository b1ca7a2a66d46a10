"""Serving and scoring work where torch, and all that training and export need, cannot be imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import png, write_fake_bundle

BLOCKED = (
    "torch", "lightning", "torchmetrics", "kornia", "onnx", "onnxscript", "sklearn", "matplotlib", "pycocotools",
    "transformers",
)  # fmt: skip

SERVE_ONE = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
import asyncio, httpx, pathlib
from serving.app import create_app
from serving.settings import Settings

async def main():
    app = create_app(Settings(repository=pathlib.Path(sys.argv[1])))
    async with app.api.router.lifespan_context(app.api):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            while (await client.get("/v2/health/ready")).status_code != 200:
                await asyncio.sleep(0.01)
            answer = await client.post("/v1/classify", content=sys.stdin.buffer.read())
            print(answer.text)

asyncio.run(main())
"""

NO_SERVICE = (*BLOCKED, "fastapi", "starlette", "uvicorn", "grpc", "httpx")
"""A machine that only scores has no HTTP server either."""

ON_THE_NODE = """
import sys

class NotInstalled:  # None in sys.modules would do, if tyro did not look there to know whether torch is used
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
from modelyard import main
main(sys.argv[2:])
"""

HEAVY = ("torch", "lightning", "onnxruntime", "fastapi", "cv2", "numpy", "pydantic", "tokenizers", "transformers",
         "pyarrow")  # fmt: skip

ONLY_TRAINING = ("lightning", "torchmetrics", "transformers", "torch._dynamo")


def test_serving_answers_without_torch(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path)
    command = [sys.executable, "-c", SERVE_ONE, str(tmp_path)]
    done = subprocess.run(command, input=png(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["model"] == "fake"


def on_the_node(*arguments: str, lacks: tuple[str, ...] = BLOCKED) -> str:
    """What a command prints where only what serves is installed."""
    command = [sys.executable, "-c", ON_THE_NODE, ",".join(lacks), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_engine_can_be_built_without_torch() -> None:
    assert "--hardware-compatibility" in on_the_node("build-engine", "--help")


def test_a_device_is_tuned_for_without_torch() -> None:
    assert on_the_node("tune", "--help").startswith("usage: modelyard tune")


def test_artefacts_are_proven_without_torch(tmp_path: Path) -> None:
    folder = write_fake_bundle(tmp_path)
    for split in ("no", "auto"):
        printed = on_the_node("prove", str(folder), "--device", "cpu", "--test-split", split)
        record = json.loads(Path(printed.strip()).read_text(encoding="utf-8"))
        assert record["artefact"] == "fp32"
    assert "the training extra is not installed" in record["evidence"]["measured_with"]["test_split"]


def test_scoring_needs_neither_torch_nor_a_server(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "models")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png())
    printed = on_the_node("score", str(bundle), str(tmp_path / "in"), str(tmp_path / "out"), lacks=NO_SERVICE)
    assert printed == f"{tmp_path}/out\n"
    assert json.loads((tmp_path / "out/_summary.json").read_bytes())["num_rows"] == 1


def test_the_command_imports_nothing_heavy_before_it_knows_the_subcommand() -> None:
    code = f"import modelyard, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_export_starts_without_what_only_training_needs() -> None:
    """Their import takes longer than torch's; sys.modules, since torch's own code asks for some of them."""
    pytest.importorskip("torch", reason="export needs torch")
    code = f"""
import sys
import export.commands
from training.tasks import TASKS, training_task
for task_id in TASKS:
    training_task(task_id)
print([name for name in {ONLY_TRAINING!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
