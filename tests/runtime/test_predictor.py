"""prepare -> run -> decode gives one answer an input, in order, in batches that the evidence covers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import BadInput, BundleError, InputTooLarge, RuntimeFailed
from bundle.preprocess import Limits
from bundle.store import Bundle, open_bundle
from bundle.tasks.classification import Classification, ClassificationOptions
from bundle.tensors import Tensors
from runtime.fake import FakeRuntime
from runtime.predictor import load_predictor
from tests.builders import png, write_fake_bundle
from tests.runtime.stand_ins import RecordingRuntime, predictor_around, scores_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose largest batch is 4."""
    return open_bundle(write_fake_bundle(tmp_path_factory.mktemp("models")))


def row(seed: int, height_px: int = 2, width_px: int = 2) -> Tensors:
    return {"image": np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)}


@pytest.mark.parametrize(("num_rows", "sizes"), [(1, [1]), (4, [4]), (5, [4, 1]), (10, [4, 4, 2])])
def test_a_batch_never_exceeds_the_largest_that_is_proven(bundle: Bundle, num_rows: int, sizes: list[int]) -> None:
    runtime = RecordingRuntime()
    predictor_around(bundle.manifest, runtime).run([row(i) for i in range(num_rows)])
    assert [shape[0] for shape in runtime.shapes] == sizes


def test_no_rows_are_no_batch(bundle: Bundle) -> None:
    runtime = RecordingRuntime()
    assert predictor_around(bundle.manifest, runtime).run([]) == []
    assert runtime.shapes == []


def test_rows_of_unlike_shape_never_share_a_batch(bundle: Bundle) -> None:
    runtime = RecordingRuntime()
    predictor_around(bundle.manifest, runtime).run(
        [row(0, 2, 2), row(1, 2, 2), row(2, 3, 2), row(3, 2, 3), row(4, 2, 2)]
    )
    assert runtime.shapes == [(3, 2, 2, 3), (1, 3, 2, 3), (1, 2, 3, 3)]


@given(sides=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=15))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_every_row_gets_its_own_outputs_in_order(bundle: Bundle, sides: list[tuple[int, int]]) -> None:
    runtime = RecordingRuntime()
    rows = [row(i, *side) for i, side in enumerate(sides)]
    outputs = predictor_around(bundle.manifest, runtime).run(rows)
    assert [got["scores"].tolist() for got in outputs] == [scores_of(one["image"]).tolist() for one in rows]
    assert all(shape[0] <= bundle.manifest.max_batch_size for shape in runtime.shapes)


def test_predict_is_prepare_run_and_decode(bundle: Bundle) -> None:
    predictor = load_predictor(bundle)
    raws = [png(seed=seed) for seed in range(6)]
    prepared = [predictor.prepare(raw) for raw in raws]
    outputs = predictor.run([one.tensors for one in prepared])
    expected = [predictor.decode(row, one) for row, one in zip(outputs, prepared, strict=True)]
    assert predictor.predict(raws) == expected


def test_the_order_of_the_inputs_is_the_order_of_the_answers(bundle: Bundle) -> None:
    predictor = load_predictor(bundle)
    raws = [png(seed=seed) for seed in range(6)]
    assert predictor.predict(raws[::-1]) == predictor.predict(raws)[::-1]


def test_threads_at_once_get_the_answers_of_one_alone(bundle: Bundle) -> None:
    predictor = load_predictor(bundle)
    raws = [png(seed=seed) for seed in range(20)]
    with ThreadPoolExecutor(8) as pool:
        at_once = list(pool.map(lambda raw: predictor.predict([raw])[0], raws))
    assert at_once == predictor.predict(raws)


def test_the_caller_chooses_how_many_labels_are_listed(bundle: Bundle) -> None:
    (answer,) = load_predictor(bundle).predict([png()], ClassificationOptions(top_k=1))
    assert isinstance(answer, Classification)
    assert len(answer.top_k) == 1


def test_the_task_of_the_manifest_decodes(bundle: Bundle) -> None:
    (answer,) = load_predictor(bundle).predict([png()])
    assert isinstance(answer, Classification)
    assert {entry.label for entry in answer.top_k} == set(bundle.manifest.decode.labels)


def test_an_input_that_cannot_be_read_is_bad_input(bundle: Bundle) -> None:
    with pytest.raises(BadInput, match="not a picture"):
        load_predictor(bundle).predict([png(), b"not a picture"])


def test_the_limits_of_the_process_are_held(bundle: Bundle) -> None:
    with pytest.raises(InputTooLarge, match="at most 10 pixels"):
        load_predictor(bundle, limits=Limits(max_pixels=10)).prepare(png())


def test_a_runtime_that_refuses_a_batch_is_heard(bundle: Bundle) -> None:
    with pytest.raises(RuntimeFailed, match="expected \\['batch', 8, 8, 3\\]"):
        load_predictor(bundle).run([row(0)])


def test_the_default_artefact_is_loaded_unless_another_is_named(bundle: Bundle) -> None:
    assert isinstance(load_predictor(bundle).runtime, FakeRuntime)
    assert isinstance(load_predictor(bundle, "fp32").runtime, FakeRuntime)


def test_an_artefact_that_is_not_there_is_told_with_those_that_are(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=f"{bundle.folder}: no artefact 'int8'; it has fp32"):
        load_predictor(bundle, "int8")


def test_a_second_artefact_is_loaded_by_its_name(bundle: Bundle, tmp_path: Path) -> None:
    artefacts = {**bundle.manifest.artefacts, "second": bundle.manifest.artefacts["fp32"]}
    both = open_bundle(write_fake_bundle(tmp_path, artefacts=artefacts))
    assert load_predictor(both, "second").predict([png()]) == load_predictor(both, "fp32").predict([png()])
