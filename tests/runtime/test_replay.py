"""A replay passes where every stage gives what the checkpoint gave, and otherwise names the sample and the error."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bundle.errors import ModelyardError, ParityError
from bundle.golden import Golden
from bundle.manifest import Manifest
from bundle.store import open_bundle
from bundle.tasks.classification import Classification, LabelScore
from bundle.tensors import Array, max_abs_error
from runtime.predictor import Predictor, load_predictor
from runtime.replay import replay
from tests.builders import png, write_fake_bundle
from tests.runtime.stand_ins import FixedRuntime, predictor_around

SCORES = (0.625, 0.25, 0.125)
ANSWER = Classification("cat", 0.625, (LabelScore("cat", 0.625), LabelScore("dog", 0.25), LabelScore("owl", 0.125)))
ATOL = 0.01


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return open_bundle(write_fake_bundle(tmp_path_factory.mktemp("models"))).manifest


@pytest.fixture
def predictor(manifest: Manifest) -> Predictor:
    """Says cat, whatever the picture."""
    return predictor_around(manifest, FixedRuntime(SCORES))


@pytest.fixture
def samples(predictor: Predictor) -> list[Golden]:
    """Three samples that the predictor replays exactly."""
    raws = [png(seed=seed) for seed in range(3)]
    outputs = {"scores": np.array(SCORES, np.float32)}
    return [Golden(raw, "image/png", predictor.prepare(raw).tensors, outputs, ANSWER) for raw in raws]


def brighter(image: Array, levels: int) -> Array:
    """Another picture, by as many levels in one pixel."""
    changed = image.astype(np.int16)
    changed[0, 0, 0] += levels if changed[0, 0, 0] < 128 else -levels
    return changed.astype(np.uint8)


def parity_error(predictor: Predictor, samples: list[Golden]) -> str:
    with pytest.raises(ParityError) as caught:
        replay(predictor, samples, ATOL)
    return str(caught.value)


def test_a_good_bundle_passes(tmp_path: Path) -> None:
    bundle = open_bundle(write_fake_bundle(tmp_path))
    replay(load_predictor(bundle), bundle.golden(), bundle.manifest.artefacts["fp32"].atol)


def test_what_the_checkpoint_gave_passes(predictor: Predictor, samples: list[Golden]) -> None:
    replay(predictor, samples, 0.0)


def test_other_outputs_are_told_with_sample_tensor_error_and_limit(predictor: Predictor, samples: list[Golden]) -> None:
    samples[1] = replace(samples[1], outputs={"scores": np.array((0.5, 0.375, 0.125), np.float32)})
    expected = "golden sample 1 alone: output 'scores': error 0.125 is over the limit 0.01"
    assert parity_error(predictor, samples) == expected


def test_outputs_within_the_limit_pass(predictor: Predictor, samples: list[Golden]) -> None:
    samples[1] = replace(samples[1], outputs={"scores": np.array((0.620, 0.255, 0.125), np.float32)})
    replay(predictor, samples, ATOL)


def test_outputs_of_another_shape_are_told(predictor: Predictor, samples: list[Golden]) -> None:
    samples[2] = replace(samples[2], outputs={"scores": np.zeros(4, np.float32)})
    assert parity_error(predictor, samples).startswith("golden sample 2 alone: output 'scores'")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_no_numbers_never_pass(manifest: Manifest, samples: list[Golden], value: float) -> None:
    broken = predictor_around(manifest, FixedRuntime((value, 0.0, 0.0)))
    assert "golden sample 0 alone: output 'scores': error inf" in parity_error(broken, samples)


def test_an_engine_that_differs_in_a_batch_is_told(manifest: Manifest, samples: list[Golden]) -> None:
    drifting = FixedRuntime(SCORES, in_a_batch=lambda scores, num_rows: scores + 0.1 * (num_rows - 1))
    message = parity_error(predictor_around(manifest, drifting), samples)
    assert message.startswith("golden sample 0 in a batch: output 'scores': error 0.2")


def test_other_pixels_are_told_with_the_sample(predictor: Predictor, samples: list[Golden]) -> None:
    samples[2] = replace(samples[2], inputs={"image": brighter(samples[2].inputs["image"], 2)})
    assert parity_error(predictor, samples) == "golden sample 2: input 'image': error 2 is over the limit 1"


def test_pixels_that_another_machine_rounded_by_one_level_pass(predictor: Predictor, samples: list[Golden]) -> None:
    samples[2] = replace(samples[2], inputs={"image": brighter(samples[2].inputs["image"], 1)})
    replay(predictor, samples, ATOL)


def test_pixels_of_another_size_are_told(predictor: Predictor, samples: list[Golden]) -> None:
    samples[0] = replace(samples[0], inputs={"image": np.zeros((9, 8, 3), np.uint8)})
    assert parity_error(predictor, samples).startswith("golden sample 0: input 'image'")


def test_another_answer_is_told_with_both(predictor: Predictor, samples: list[Golden]) -> None:
    owl = Classification("owl", 0.9, (LabelScore("owl", 0.9), LabelScore("cat", 0.1)))
    samples[1] = replace(samples[1], answer=owl)
    message = parity_error(predictor, samples)
    assert message.startswith("golden sample 1: the answer differs: expected 'owl' (0.9000), got 'cat' (0.6250")


def test_a_golden_picture_that_cannot_be_read_here_is_named(predictor: Predictor, samples: list[Golden]) -> None:
    samples[1] = replace(samples[1], raw=b"damaged")
    with pytest.raises(ModelyardError, match="golden sample 1"):
        replay(predictor, samples, ATOL)


PAIRS = arrays.array_shapes(max_dims=3, max_side=4).flatmap(
    lambda shape: st.tuples(*[arrays.arrays(np.float32, shape, elements=st.floats(-1e3, 1e3, width=32))] * 2)
)


@given(PAIRS)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_the_largest_error_is_the_same_both_ways(pair: tuple[Array, Array]) -> None:
    one, other = pair
    assert max_abs_error(one, other) == max_abs_error(other, one) == np.abs(one.astype(float) - other).max()
    assert max_abs_error(one, one) == 0


def test_bytes_do_not_wrap_around() -> None:
    assert max_abs_error(np.array([255], np.uint8), np.array([0], np.uint8)) == 255


def test_truth_values_differ_by_one() -> None:
    assert max_abs_error(np.array([True]), np.array([False])) == 1


def test_other_shapes_are_infinitely_far_apart() -> None:
    assert max_abs_error(np.zeros(3), np.zeros((3, 1))) == float("inf")


def test_not_a_number_is_infinitely_far_from_everything() -> None:
    assert max_abs_error(np.array([np.nan]), np.array([np.nan])) == float("inf")


def test_nothing_does_not_differ_from_nothing() -> None:
    assert max_abs_error(np.zeros((0, 3)), np.zeros((0, 3))) == 0
