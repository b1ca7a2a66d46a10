from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bundle.errors import BadInput
from bundle.manifest import Manifest
from bundle.preprocess import Prepared
from bundle.tensors import Array
from serving.oip.datatypes import DATATYPES, bytes_from_array, name_of
from serving.oip.request import SentTensor
from serving.oip.rows import raw_request, rows_of
from tests.builders import png
from tests.serving.oip.manifests import NUM_STEPS, SERIES, image_manifest, series_manifest, text_manifest

MAX_ROWS = 8
PICTURES = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return image_manifest(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return series_manifest(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return text_manifest(tmp_path_factory.mktemp("models"))


def sent(name: str, array: Array, datatype: str = "") -> SentTensor:
    datatype = datatype or name_of(str(array.dtype))
    return SentTensor(name, DATATYPES[datatype], array.shape, raw=bytes(bytes_from_array(array, datatype)))


def elements(name: str, *items: bytes, shape: tuple[int, ...] | None = None) -> SentTensor:
    array = np.empty(len(items), object)
    array[:] = items
    return sent(name, array.reshape(shape or (len(items),)), "BYTES")


def tensors_of(rows: Sequence[Prepared | bytes], name: str) -> list[Any]:
    return [row.tensors[name].tolist() for row in rows if isinstance(row, Prepared)]


def test_a_batch_becomes_a_row_each(images: Manifest) -> None:
    rows = rows_of(images, [sent("image", PICTURES)], MAX_ROWS)
    assert tensors_of(rows, "image") == PICTURES.tolist()


def test_inputs_may_come_in_any_order(texts: Manifest) -> None:
    ids, mask = np.array([[2, 3, 4], [3, 0, 0]]), np.array([[1, 1, 1], [1, 0, 0]])
    rows = rows_of(texts, [sent("attention_mask", mask), sent("input_ids", ids)], MAX_ROWS)
    assert tensors_of(rows, "input_ids") == ids.tolist()
    assert list(rows[0].tensors) == ["input_ids", "attention_mask"]  # type: ignore[union-attr]


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_halves_of_floats_are_taken_for_the_floats_that_they_are(series: Manifest, datatype: str) -> None:
    values = np.array([[0.5, 1, -2, 4]], np.float16 if datatype == "FP16" else np.float32)
    (row,) = rows_of(series, [sent("series", values, datatype)], MAX_ROWS)
    assert isinstance(row, Prepared)
    assert row.tensors["series"].dtype == np.float32
    assert row.tensors["series"].tolist() == [0.5, 1, -2, 4]


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
@pytest.mark.parametrize("kind", ["images", "series", "texts"])
def test_bytes_in_place_of_tensors_stay_as_they_are(
    request: pytest.FixtureRequest, kind: str, shape: tuple[int, ...]
) -> None:
    manifest = request.getfixturevalue(kind)
    for name in {"images": ["image"], "series": ["series"], "texts": ["text", "input_ids"]}[kind]:
        assert rows_of(manifest, [elements(name, b"one", b"two", shape=shape)], MAX_ROWS) == [b"one", b"two"]


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (sent("image", PICTURES[0]), r"shape \[8, 8, 3\]: the batch dimension is missing; send \[1, 8, 8, 3\]"),
        (sent("image", PICTURES[:, :, :, 0]), r"3 dimensions, where 4 are expected; the model takes \[-1, 8, 8, 3\]"),
        (sent("image", PICTURES.transpose(0, 3, 1, 2)), "dimension 1 is 3 and must be 8"),
        (sent("image", PICTURES.astype(np.float32)), r"is FP32; the model takes 'image' \(UINT8 \[-1, 8, 8, 3\]\)"),
        (sent("image", PICTURES[:0]), "the batch dimension, the first of every shape, is 0"),
        (sent("image", np.repeat(PICTURES, 5, 0)), "is 10; a request holds 1 to 8 rows"),
        (sent("picture", PICTURES), "'picture' is none of them; 'image' is missing"),
        (elements("picture", b"x"), "'picture' is none of them"),
        (elements("image", b"x", b"y", shape=(1, 2)), r"encoded inputs come as \[N\] or \[N, 1\]"),
        (elements("image", *[b""] * 9), "is 9; a request holds 1 to 8 rows"),
        (elements("image"), "is 0; a request holds 1 to 8 rows"),
        (sent("image", np.array(b"x", object), "BYTES"), r"encoded inputs come as \[N\] or \[N, 1\]"),
    ],
)
def test_what_the_model_does_not_take_is_refused_with_what_it_takes(
    images: Manifest, tensor: SentTensor, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        rows_of(images, [tensor], MAX_ROWS)


IDS = np.array([[2, 3, 4]])
MASK = np.ones((1, 3), np.int64)


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (IDS, np.ones((2, 3), np.int64), "2 for its dimension 'batch', another input has 1"),
        (IDS, np.ones((1, 4), np.int64), "4 for its dimension 'tokens', another input has 3"),
        (np.array([[2, 3, 5]]), MASK, "'input_ids' holds values from 2 to 5; the model takes 0 to 4"),
        (np.array([[-1, 3, 4]]), MASK, "'input_ids' holds values from -1 to 4"),
        (IDS, MASK * 2, "'attention_mask' holds values from 2 to 2"),
        (np.zeros((1, 9), np.int64), np.ones((1, 9), np.int64), "9 tokens a row; the model takes 1 to 8"),
        (np.zeros((1, 0), np.int64), np.ones((1, 0), np.int64), "0 tokens a row"),
    ],
)
def test_token_ids_that_would_break_the_engine_never_reach_it(
    texts: Manifest, ids: Array, mask: Array, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        rows_of(texts, [sent("input_ids", ids), sent("attention_mask", mask)], MAX_ROWS)


def test_a_missing_input_is_named(texts: Manifest) -> None:
    with pytest.raises(BadInput, match=r"'attention_mask' \(INT64 \[-1, -1\]\): 'attention_mask' is missing"):
        rows_of(texts, [sent("input_ids", IDS)], MAX_ROWS)


def test_a_body_of_the_tensors_size_is_the_tensor(images: Manifest) -> None:
    request = raw_request(images, PICTURES[0].tobytes())
    assert tensors_of(rows_of(images, request.inputs, MAX_ROWS), "image") == [PICTURES[0].tolist()]
    assert request.wishes.binary_outputs


def test_a_body_of_any_other_size_is_the_input_still_encoded(images: Manifest, texts: Manifest) -> None:
    assert rows_of(images, raw_request(images, png()).inputs, MAX_ROWS) == [png()]
    assert rows_of(texts, raw_request(texts, b"good film").inputs, MAX_ROWS) == [b"good film"]


def test_a_series_may_be_a_tensor_or_text(series: Manifest) -> None:
    values = np.arange(NUM_STEPS, dtype=np.float32)
    assert tensors_of(rows_of(series, raw_request(series, values.tobytes()).inputs, 8), "series") == [values.tolist()]
    assert rows_of(series, raw_request(series, SERIES).inputs, MAX_ROWS) == [SERIES]


def test_an_empty_body_is_refused(images: Manifest) -> None:
    with pytest.raises(BadInput, match="the body is empty"):
        raw_request(images, b"")
