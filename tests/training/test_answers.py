"""What a checkpoint answers: every row in its place whatever its shape, golden samples as a user sees them."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import DataError  # noqa: E402
from bundle.golden import read_golden  # noqa: E402
from bundle.preprocess import ImageResize, Limits, load_preprocess  # noqa: E402
from bundle.store import Bundle  # noqa: E402
from bundle.tasks import TASKS  # noqa: E402
from bundle.tasks.classification import ClassificationDecode  # noqa: E402
from bundle.tensors import Tensors  # noqa: E402
from tests.builders import png  # noqa: E402
from tests.training.listed import Listed  # noqa: E402
from training import answers  # noqa: E402
from training.answers import answer, checkpoint_compute, output_names, record_golden, spread  # noqa: E402
from training.data.samples import ArrayImages  # noqa: E402
from training.graph import Graph, TokenStem  # noqa: E402

PREPROCESS = ImageResize(height_px=4, width_px=4)
PREPARE = load_preprocess(PREPROCESS, Path())
TASK = TASKS["image-classification"](ClassificationDecode(labels=("cat", "dog", "owl")))


class Sums(torch.nn.Module):
    """The sum of a row and its length; remembers the shape of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.shapes.append(tuple(ids.shape))
        return (ids * mask).sum(1), mask.sum(1)


def token_row(length: int, start: int) -> Tensors:
    return {"input_ids": np.arange(start, start + length), "attention_mask": np.ones(length, np.int64)}


def test_rows_of_unlike_shape_never_share_a_batch_and_keep_their_places() -> None:
    network = Sums()
    rows = [token_row(length, i) for i, length in enumerate([3, 5, 3, 1, 5, 5])]
    outputs = checkpoint_compute(Graph(TokenStem(), network, torch.nn.Identity()), ("sum", "length"))(rows)
    assert sorted(network.shapes) == [(1, 1), (2, 3), (3, 5)]
    assert [(int(row["sum"]), int(row["length"])) for row in outputs] == [
        (int(row["input_ids"].sum()), len(row["input_ids"])) for row in rows
    ]


def test_a_batch_is_never_larger_than_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "FORWARD_BATCH", 4)
    network = Sums()
    rows = [token_row(2, i) for i in range(10)]
    outputs = checkpoint_compute(Graph(TokenStem(), network, torch.nn.Identity()), ("sum", "length"))(rows)
    assert network.shapes == [(4, 2), (4, 2), (2, 2)]
    assert [int(row["sum"]) for row in outputs] == [2 * i + 1 for i in range(10)]


def test_no_rows_are_no_outputs() -> None:
    assert checkpoint_compute(Graph(TokenStem(), Sums(), torch.nn.Identity()), ("sum", "length"))([]) == []


def test_an_output_without_a_name_is_an_error_and_not_lost() -> None:
    with pytest.raises(ValueError, match="argument"):
        checkpoint_compute(Graph(TokenStem(), Sums(), torch.nn.Identity()), ("sum",))([token_row(2, 0)])


def test_outputs_are_named_in_the_order_of_their_specs() -> None:
    assert output_names(TASK, PREPROCESS) == ["scores"]


def brightness(rows: list[Tensors]) -> list[Tensors]:
    """Stands in for a checkpoint: bright pictures are owls, dark ones cats."""
    shares = [float(row["image"].mean()) / 255 for row in rows]
    return [{"scores": np.array([1 - share, 0.0, share], np.float32)} for share in shares]


def shades(*levels: int) -> Listed:
    pictures = [png(np.full((4, 4, 3), level, np.uint8)) for level in levels]
    return Listed(pictures, list(range(len(levels))), strata=[level // 128 for level in levels])


def test_every_sample_is_answered_in_order_whatever_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "CHUNK", 2)
    given = answer(shades(0, 255, 10, 250, 20), PREPARE, brightness, TASK)
    assert [one.label for one in given] == ["cat", "owl", "cat", "owl", "cat"]  # type: ignore[attr-defined]
    assert len(given[0].top_k) == 3, "as much as golden samples show"  # type: ignore[attr-defined]


def test_a_sample_that_cannot_be_read_is_named() -> None:
    with pytest.raises(DataError, match="sample 1: "):
        answer(Listed([png(), b"junk"], [0, 1]), PREPARE, brightness, TASK)


def test_golden_samples_hold_what_was_seen_computed_and_answered(tmp_path: Path, tiny_bundle: Bundle) -> None:
    samples = shades(0, 10, 20, 200, 255)
    named = record_golden(tmp_path, samples, PREPARE, brightness, TASK)
    manifest = tiny_bundle.manifest.model_copy(update={"golden": named})
    golden = read_golden(tmp_path, manifest)
    order = spread(samples, 5)
    assert order == [0, 3, 1, 4, 2]
    assert [sample.raw for sample in golden] == [samples.raw(i) for i in order]
    for sample in golden:
        prepared = PREPARE(sample.raw, Limits())
        assert np.array_equal(sample.inputs["image"], prepared.tensors["image"])
        (row,) = brightness([sample.inputs])
        assert np.array_equal(sample.outputs["scores"], row["scores"])
        assert sample.answer == TASK.decode(row, prepared.source, TASK.golden_options())


def test_spreading_goes_round_the_strata() -> None:
    samples = ArrayImages(np.zeros((7, 2, 2), np.uint8), np.array([0, 0, 0, 0, 1, 1, 2]))
    assert spread(samples, 5) == [0, 4, 6, 1, 5]
    assert spread(samples, 99) == [0, 4, 6, 1, 5, 2, 3]


def test_spreading_goes_by_strata_and_not_by_targets() -> None:
    masks = [np.zeros((2, 2), np.uint8)] * 4
    assert spread(Listed([b""] * 4, masks, strata=[1, 1, 0, 0]), 4) == [2, 0, 3, 1]
    assert spread(Listed([b""] * 4, masks), 3) == [0, 1, 2]
