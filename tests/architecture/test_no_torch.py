"""Serving and scoring work where torch, and all that training and export need, cannot be imported."""

import json
import subprocess
import sys
from pathlib import Path

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

SCORE = f"""
import sys

class NotThere:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {NO_SERVICE!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotThere())
import modelyard
modelyard.main(["score", *sys.argv[1:]])
"""

HEAVY = ("torch", "lightning", "onnxruntime", "fastapi", "cv2", "numpy", "pydantic", "tokenizers", "transformers",
         "pyarrow")  # fmt: skip


def test_serving_answers_without_torch(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path)
    command = [sys.executable, "-c", SERVE_ONE, str(tmp_path)]
    done = subprocess.run(command, input=png(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["model"] == "fake"


def test_scoring_needs_neither_torch_nor_a_server(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "models")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png())
    command = [sys.executable, "-c", SCORE, str(bundle), str(tmp_path / "in"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out\n"), done.stderr
    assert json.loads((tmp_path / "out/_summary.json").read_bytes())["num_rows"] == 1


def test_the_command_imports_nothing_heavy_before_it_knows_the_subcommand() -> None:
    code = f"import modelyard, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
