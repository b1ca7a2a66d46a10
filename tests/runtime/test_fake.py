"""The fake is a real runtime: it refuses what does not fit, and a row's answer depends on that row alone."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bundle.errors import RuntimeFailed
from bundle.tensors import Tensors, TensorSpec, stack, unstack
from runtime.fake import FakeRuntime, write_fake

INPUTS = (
    TensorSpec(name="image", dtype="uint8", shape=("batch", 4, 4, 3)),
    TensorSpec(name="row", dtype="float32", shape=("batch", 5)),
)
OUTPUTS = (
    TensorSpec(name="scores", dtype="float32", shape=("batch", 7)),
    TensorSpec(name="mask", dtype="float16", shape=("batch", 2, 3)),
    TensorSpec(name="anomaly_score", dtype="float32", shape=("batch",)),
    TensorSpec(name="tokens", dtype="int64", shape=("batch", "length")),
)
ROWS = st.fixed_dictionaries(
    {
        "image": arrays.arrays(np.uint8, (4, 4, 3)),
        "row": arrays.arrays(np.float32, 5, elements=st.floats(-1e3, 1e3, width=32)),
    }
)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> FakeRuntime:
    path = tmp_path_factory.mktemp("fake") / "model.fake.json"
    write_fake(path, INPUTS, OUTPUTS)
    return FakeRuntime(path)


def batch(num_rows: int = 2) -> Tensors:
    rng = np.random.default_rng(num_rows)
    image = rng.integers(0, 256, (num_rows, 4, 4, 3), dtype=np.uint8)
    return {"image": image, "row": rng.standard_normal((num_rows, 5), dtype=np.float32)}


def test_the_specs_are_those_that_were_written(runtime: FakeRuntime) -> None:
    assert (runtime.inputs, runtime.outputs) == (INPUTS, OUTPUTS)


@given(rows=st.lists(ROWS, min_size=1, max_size=6))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_a_row_is_the_same_alone_and_in_a_batch(runtime: FakeRuntime, rows: list[Tensors]) -> None:
    together = unstack(runtime.run(stack(rows)))
    for row, got in zip(rows, together, strict=True):
        alone = unstack(runtime.run(stack([row])))[0]
        assert all(np.array_equal(alone[name], got[name]) for name in alone)


@pytest.mark.parametrize("num_rows", [1, 2, 9])
def test_outputs_fit_their_specs(runtime: FakeRuntime, num_rows: int) -> None:
    outputs = runtime.run(batch(num_rows))
    assert list(outputs) == [spec.name for spec in OUTPUTS]
    assert [spec.mismatch(outputs[spec.name]) for spec in OUTPUTS] == [None] * len(OUTPUTS)
    assert all(len(array) == num_rows for array in outputs.values())


def test_scores_look_like_scores(runtime: FakeRuntime) -> None:
    scores = runtime.run(batch(5))["scores"]
    assert np.allclose(scores.sum(axis=1), 1)
    assert (scores >= 0).all()


def test_other_rows_have_other_answers(runtime: FakeRuntime) -> None:
    one, other = runtime.run(batch(2))["scores"]
    assert not np.array_equal(one, other)


def test_the_same_batch_has_the_same_answers(runtime: FakeRuntime) -> None:
    assert np.array_equal(runtime.run(batch())["scores"], runtime.run(batch())["scores"])


@pytest.mark.parametrize(
    ("spoilt", "cause"),
    [
        ({"image": np.zeros((2, 4, 4), np.uint8)}, "tensor 'image' has shape [2, 4, 4], expected ['batch', 4, 4, 3]"),
        ({"image": np.zeros((2, 4, 5, 3), np.uint8)}, "tensor 'image' has shape [2, 4, 5, 3]"),
        ({"row": np.zeros((2, 5), np.float64)}, "tensor 'row' is float64, expected float32"),
        ({"row": np.zeros((3, 5), np.float32)}, "row"),  # three rows of one input and two of the other
        ({"another": np.zeros((2, 5), np.float32)}, "another"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(runtime: FakeRuntime, spoilt: Tensors, cause: str) -> None:
    with pytest.raises(RuntimeFailed) as caught:
        runtime.run(batch(2) | spoilt)
    assert cause in str(caught.value)


def test_a_missing_tensor_is_refused_by_its_name(runtime: FakeRuntime) -> None:
    with pytest.raises(RuntimeFailed, match="tensor 'row' is missing"):
        runtime.run({"image": batch()["image"]})


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"inputs": []}', b'{"inputs": 1, "outputs": 2}', b"\xff"])
def test_a_damaged_artefact_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.fake.json"
    path.write_bytes(content)
    with pytest.raises(RuntimeFailed, match=f"{path}: not the specs of a fake model"):
        FakeRuntime(path)


def test_a_missing_artefact_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match=f"{tmp_path}/nothing.json"):
        FakeRuntime(tmp_path / "nothing.json")
