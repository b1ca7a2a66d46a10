"""Online equals offline: the same raw inputs over HTTP and through a job, on the same artefact, row for row."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

pytest.importorskip("fastapi", reason="one half of the comparison is the service")

from bundle.store import Bundle
from bundle.tasks import TASKS
from scoring.columns import ABOUT, WHERE
from scoring.job import Settings, score
from serving.endpoints import ENDPOINTS
from serving.settings import Settings as ServiceSettings
from tests.builders import picture, png
from tests.conformance.examples import EXAMPLES, KINDS
from tests.scoring.running import rows, write_example_bundle
from tests.serving.running import started

pytestmark = pytest.mark.anyio
MANY = 40
COLUMN = {"image-resize": "image", "text-tokens": "text", "series": "series"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def online(repository: Path, task_id: str, media_type: str, raws: Sequence[bytes], query: str = "") -> list[Any]:
    """The prediction of every input, or the error that the service answers; each asked alone."""
    found = []
    async with started(ServiceSettings(repository=repository)) as client:
        for raw in raws:
            path = ENDPOINTS[task_id].path + query
            answer = (await client.post(path, content=raw, headers={"content-type": media_type})).json()
            found.append(answer["predictions"][0] if "predictions" in answer else {"error": answer["error"]})
    return found


def offline(folder: Path, bundle: Path, column: str, raws: Sequence[bytes], *options: str) -> list[Any]:
    """The answer of every row of a table that holds the same bytes, without what is null."""
    parquet.write_table(pa.table({column: pa.array(raws, pa.binary())}), folder / "in.parquet")
    score(Settings(bundle, str(folder / "in.parquet"), str(folder / "out"), format="jsonl", options=options))
    found = []
    for row in rows(folder / "out"):
        answer = {name: value for name, value in row.items() if name not in {*WHERE, *ABOUT, "version"}}
        found.append({"error": row["error"]} if row["error"] else _without_nulls(answer))
    return found


def _without_nulls(value: Any) -> Any:
    """Columns that an answer has no value for are null; its JSON leaves them out."""
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("task_id", TASKS)
async def test_every_task_answers_alike(task_id: str, tmp_path: Path) -> None:
    """Good inputs and bad ones: the fake runtime computes every row by itself, so not a bit may differ."""
    kind = KINDS[EXAMPLES[task_id].preprocess.kind]
    raws = [*kind.raws, b"", b"\xff\xfe", kind.raws[0][:9], *reversed(kind.raws)]
    bundle = write_example_bundle(tmp_path / "models", task_id, max_batch_size=3)
    asked = await online(tmp_path / "models", task_id, kind.media_type, raws)
    scored = offline(tmp_path, bundle, COLUMN[EXAMPLES[task_id].preprocess.kind], raws)
    # What is sent is an empty body before it is an empty picture: only that it is refused is the same.
    same = [i for i, raw in enumerate(raws) if raw]
    assert [scored[i] for i in same] == [asked[i] for i in same]
    assert "error" in scored[len(kind.raws)]
    assert "error" in asked[len(kind.raws)]


async def test_options_mean_the_same(tmp_path: Path) -> None:
    raws = KINDS["image-resize"].raws
    bundle = write_example_bundle(tmp_path / "models", "image-segmentation")
    asked = await online(tmp_path / "models", "image-segmentation", "image/png", raws, "?mask=rle")
    assert offline(tmp_path, bundle, "image", raws, "mask=rle") == asked
    assert all("mask_png" not in one and one["classes"][0]["rle"] for one in asked)


async def test_a_trained_model_answers_alike(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """A real engine rounds a row of a batch differently at most in the seventh place."""
    raws = [png(picture(seed, 8 + seed % 5, 8)) for seed in range(MANY)]
    asked = await online(tiny_bundle.folder.parent.parent, tiny_bundle.manifest.task, "image/png", raws)
    scored = offline(tmp_path, tiny_bundle.folder, "image", raws)
    assert len(scored) == MANY
    for mine, other in zip(scored, asked, strict=True):
        assert [one["label"] for one in mine["top_k"]] == [one["label"] for one in other["top_k"]]
        scores = ([one["score"] for one in answer["top_k"]] for answer in (mine, other))
        assert next(scores) == pytest.approx(next(scores), abs=1e-6)


async def test_pictures_in_columns_are_those_of_the_answer(mask_bundle: Path, tmp_path: Path) -> None:
    raws = KINDS["image-resize"].raws
    parquet.write_table(pa.table({"image": pa.array(raws, pa.binary())}), tmp_path / "in.parquet")
    score(Settings(mask_bundle, str(tmp_path / "in.parquet"), str(tmp_path / "out")))
    asked = await online(mask_bundle.parent.parent, "image-segmentation", "image/png", raws)
    masks = [row["mask_png"] for row in rows(tmp_path / "out")]
    assert masks == [base64.b64decode(one["mask_png"]) for one in asked]
