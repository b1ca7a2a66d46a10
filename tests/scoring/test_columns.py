"""Columns: a schema from the type of the answers alone, and rows that fit it whatever they hold."""

from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from bundle.errors import BadInput
from bundle.manifest import Manifest
from bundle.store import open_bundle
from bundle.tasks import TASKS
from scoring.columns import ABOUT, IN_COLUMNS, IN_FILES, Rows, plain, schema, table_of
from scoring.scorer import Scored
from tests.conformance.examples import EXAMPLES


class Inner(msgspec.Struct):
    picture: bytes
    share: float


class Answer(msgspec.Struct):
    label: str
    number: int
    sure: bool
    corners: tuple[float, float]
    inner: Inner
    many: tuple[Inner, ...] = ()
    maybe: float | None = None


@pytest.fixture
def manifest(picture_bundle: Path) -> Manifest:
    return open_bundle(picture_bundle).manifest


ANSWER = Answer("a", 1, True, (0.0, 1.0), Inner(b"P", 0.5), (Inner(b"Q", 0.25),))


def test_a_schema_follows_from_the_type() -> None:
    found = schema(Answer, [pa.field("mine", pa.date32())])
    assert found.names == ["source", "row", "mine", *Answer.__struct_fields__, "error", "model", "version", "digest"]
    assert found.field("inner").type == pa.struct([("picture", pa.binary()), ("share", pa.float64())])
    assert found.field("corners").type == pa.list_(pa.float64())
    assert found.field("maybe").type == pa.float64()
    assert set(ABOUT) <= set(found.names)


@pytest.mark.parametrize("task_id", TASKS)
@pytest.mark.parametrize("pictures", [IN_COLUMNS, IN_FILES], ids=str)
def test_every_task_has_one(task_id: str, pictures: pa.DataType) -> None:
    result_type = TASKS[task_id](EXAMPLES[task_id].decode).result_type
    assert set(result_type.__struct_fields__) < set(schema(result_type, [], pictures).names)


def test_rows_with_and_without_an_answer(manifest: Manifest) -> None:
    scored = [Scored(ANSWER), Scored(None, "BadInput", "bad \udcff")]
    rows = Rows(["a/ü", "b/\udcff"], [0, 1], {"mine": [None, 7]}, scored)
    batch = table_of(schema(Answer, [pa.field("mine", pa.int8())]), manifest, rows)
    first, second = batch.to_pylist()
    assert first["inner"] == {"picture": b"P", "share": 0.5}
    assert (first["error"], first["maybe"], first["corners"]) == (None, None, [0.0, 1.0])
    assert (second["error"], second["source"], second["mine"]) == ("bad \\udcff", "b/\\udcff", 7)
    assert {name for name in Answer.__struct_fields__ if second[name] is not None} == set()


def test_pictures_of_answers_can_be_put_elsewhere(manifest: Manifest) -> None:
    put: dict[str, bytes] = {}

    def save(row: int, name: str, picture: bytes) -> str:
        put[f"{row}.{name}"] = picture
        return f"{row}.{name}"

    rows = Rows(["a"], [5], {}, [Scored(ANSWER)])
    (row,) = table_of(schema(Answer, [], IN_FILES), manifest, rows, save).to_pylist()
    assert row["inner"]["picture"] == "5.inner.picture"
    assert row["many"][0]["picture"] == "5.many.0.picture"
    assert put == {"5.inner.picture": b"P", "5.many.0.picture": b"Q"}


def test_no_row_has_the_same_columns(manifest: Manifest) -> None:
    found = schema(Answer, [])
    assert table_of(found, manifest, Rows([], [], {}, [])).schema == found


def test_json_has_bytes_in_base64(manifest: Manifest) -> None:
    batch = table_of(schema(Answer, []), manifest, Rows(["a"], [0], {}, [Scored(ANSWER)]))
    (row,) = plain(batch)
    assert (row["inner"]["picture"], row["many"][0]["picture"]) == ("UA==", "UQ==")


def test_what_has_no_column_and_names_that_are_taken_are_refused() -> None:
    with pytest.raises(TypeError, match="no struct"):
        schema(int, [])  # type: ignore[arg-type]
    for name in ("label", "error", "source"):
        with pytest.raises(BadInput, match=f"--keep {name}=my_{name}"):
            schema(Answer, [pa.field(name, pa.string())])
