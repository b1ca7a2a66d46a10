"""Every architecture, for every task it is for: outputs, gradients, save and load, export parity, all at tiny size."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="architectures need the training extra")

from bundle.metrics.anomaly import GOOD  # noqa: E402
from bundle.preprocess import Preprocess, load_preprocess  # noqa: E402
from bundle.tasks import TASKS  # noqa: E402
from bundle.tensors import Array, Tensors, group_alike, stack, unstack  # noqa: E402
from export.onnx import export_onnx  # noqa: E402
from export.tolerance import tolerance  # noqa: E402
from runtime.ort import OrtRuntime  # noqa: E402
from tests.builders import png  # noqa: E402
from tests.conformance.examples import EXAMPLES, HEIGHT_PX, KINDS, LABELS, WIDTH_PX, Kind  # noqa: E402
from tests.training.listed import Listed  # noqa: E402
from training.answers import answer, checkpoint_compute, output_names  # noqa: E402
from training.architectures import ARCHITECTURES, architecture_config, architecture_type  # noqa: E402
from training.data.prepared import PreparedSplit  # noqa: E402
from training.data.surfaces import Surface  # noqa: E402
from training.graph import Graph, new_stem  # noqa: E402
from training.tasks import TASKS as TRAINED  # noqa: E402
from training.tasks import training_task  # noqa: E402

HOLE = png(np.pad(np.full((4, 6), 255, np.uint8), ((4, 4), (5, 5))))


def _stripes(width_px: int) -> Array:
    """A mask of all three labels."""
    return (np.indices((HEIGHT_PX, WIDTH_PX)).sum(0) // width_px % len(LABELS)).astype(np.uint8)


TARGETS: dict[str, list[Any]] = {
    "image-classification": [0, 2, 1, 2],
    "image-segmentation": [_stripes(5 + i) for i in range(4)],
    "object-detection": [((0, 2.0, 1.0, 12.0, 10.0),), ((2, 0.0, 0.0, 8.0, 8.0), (1, 6.0, 4.0, 16.0, 12.0))] * 2,
    "series-anomaly-detection": [0, 0, 1, 0],
    "text-classification": [0, 2, 1, 2],
    "anomaly-detection": [Surface(GOOD), Surface(GOOD), Surface("hole", HOLE), Surface(GOOD)],
}
"""Task -> targets of the four raw inputs of its kind, as data sets give them."""
NUM_STEPS = 30
# Export rounds in another order: a tenth of what is allowed of trained weights.
SHARE_OF_TOLERANCE = 0.1


def test_every_trained_task_has_targets_here() -> None:
    assert set(TARGETS) == set(TRAINED)


@dataclass(frozen=True)
class Case:
    """One architecture, for one task, on inputs prepared in one way."""

    architecture: str
    task_id: str
    preprocess: Preprocess

    def __str__(self) -> str:
        sizes = [str(value) for value in self.preprocess.model_dump(exclude={"kind", "tokenizer"}).values()]
        return "-".join([self.architecture, self.task_id, *sizes])

    @property
    def kind(self) -> Kind:
        return KINDS[self.preprocess.kind]


def cases(every_preprocess: bool = True) -> Iterator[Case]:
    for architecture in ARCHITECTURES:
        for task_id in architecture_type(architecture).tasks:
            ways = KINDS[EXAMPLES[task_id].preprocess.kind].preprocess
            for preprocess in ways if every_preprocess else ways[:1]:
                yield Case(architecture, task_id, preprocess)


EVERY_WAY = [*cases()]
ONE_WAY = [*cases(every_preprocess=False)]
TEXTS = [case for case in EVERY_WAY if case.preprocess.kind == "text-tokens"]


class Line:
    """What a run makes of a case: its data, its graph with random weights, and how outputs become answers."""

    def __init__(self, case: Case, folder: Path) -> None:
        torch.manual_seed(0)
        self.case, self.preprocess = case, case.preprocess
        self.task = training_task(case.task_id)(LABELS, case.preprocess)
        self.prepare = load_preprocess(case.preprocess, case.kind.write_assets(folder))
        samples = Listed(case.kind.raws, TARGETS[case.task_id], case.kind.media_type)
        self.split = PreparedSplit(samples, self.prepare, self.task.prepare_target)
        self.graph = self.new_graph()
        self.graph.stem.fit(self.split.inputs)

    def new_graph(self) -> Graph:
        network = architecture_type(self.case.architecture).tiny().build(self.preprocess, self.task.num_outputs)
        return Graph(new_stem(self.preprocess), network, self.task.tail()).eval()

    @property
    def targets(self) -> torch.Tensor:
        return self.task.stack_targets(self.split.targets)

    @cached_property
    def meaning(self) -> Any:
        """As at the end of a run: some steps, then what `finish` learns, and the decode parameters that it gives."""
        self._learn()
        return TASKS[self.case.task_id](self.task.finish(self.graph, self.split, self.split))

    def _learn(self) -> None:
        """Away from the first weights, with which a detector finds nothing and all rows are alike."""
        optimizer = torch.optim.AdamW(self.graph.parameters(), lr=1e-2)
        self.graph.train()
        for _ in range(NUM_STEPS):
            optimizer.zero_grad()
            self.task.loss(self.graph.logits(self.split.inputs), self.targets, 0.0).backward()
            optimizer.step()
        self.graph.eval()

    @property
    def names(self) -> list[str]:
        return output_names(self.meaning, self.preprocess)

    def rows(self) -> list[Tensors]:
        """The samples', as serving would prepare them, each at its own length."""
        singles = [self.split[i][0] for i in range(len(self.split))]
        names = [spec.name for spec in self.preprocess.input_specs()]
        return [{name: one[0].numpy() for name, one in zip(names, inputs, strict=True)} for inputs in singles]

    def differences(self, expected: list[Tensors], got: list[Tensors]) -> dict[str, float]:
        """The largest of any row, by output."""
        found = [self.meaning.differences(*pair) for pair in zip(expected, got, strict=True)]
        return {name: max(one[name] for one in found) for name in found[0]}

    def far(self, expected: list[Tensors], got: list[Tensors]) -> dict[str, float]:
        """Outputs that differ by more than another order of the same arithmetic explains."""
        limit = tolerance(self.case.task_id, "fp32").atol * SHARE_OF_TOLERANCE
        return {name: error for name, error in self.differences(expected, got).items() if not error <= limit}


@pytest.fixture
def line(request: pytest.FixtureRequest, tmp_path: Path) -> Line:
    return Line(request.param, tmp_path)


def on(chosen: list[Case]) -> Any:
    return pytest.mark.parametrize("line", chosen, indirect=True, ids=str)


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_the_configuration_survives_json(key: str) -> None:
    config = architecture_type(key).tiny()
    assert config.architecture == key
    assert architecture_config(config.model_dump(mode="json")) == config


@on(EVERY_WAY)
def test_served_outputs_fit_the_specs_of_the_task_for_any_batch(line: Line) -> None:
    specs = line.meaning.output_specs(line.preprocess)
    with torch.inference_mode():
        for size in (1, 3):
            values = line.graph(*(tensor[:size] for tensor in line.split.inputs))
            batch = (values,) if isinstance(values, torch.Tensor) else values
            named = zip(specs, batch, strict=True)
            assert [spec.mismatch(value.numpy()) for spec, value in named] == [None] * len(specs)
            assert {len(value) for value in batch} == {size}


@on(ONE_WAY)
def test_a_run_can_be_watched_and_scored(line: Line, tmp_path: Path) -> None:
    """The validation metric of served batches is a number; the test figures begin with the one export guards."""
    metric = line.task.new_metric()
    meaning = line.meaning
    with torch.inference_mode():
        values = line.graph(*line.split.inputs)
    metric.update((values,) if isinstance(values, torch.Tensor) else values, line.targets)
    assert 0 <= float(metric.compute()) < float("inf")
    samples = line.split.samples
    answers = answer(samples, line.prepare, checkpoint_compute(line.graph, line.names), meaning)
    figures = line.task.score(answers, [samples.target(i) for i in range(len(samples))])
    assert next(iter(figures)) == line.task.metric_name
    assert np.isfinite(list(figures.values())).all()
    line.task.draw(tmp_path, samples, answers)
    assert [*tmp_path.glob("*.png")]


@on(ONE_WAY)
def test_every_parameter_learns(line: Line) -> None:
    line.graph.train()
    loss = line.task.loss(line.graph.logits(line.split.inputs), line.targets, 0.0)
    assert loss.shape == ()
    assert torch.isfinite(loss)
    loss.backward()
    learning = [(name, p) for name, p in line.graph.named_parameters() if p.requires_grad]
    assert learning
    assert [name for name, p in learning if p.grad is None or not p.grad.abs().sum() > 0] == []


@on(ONE_WAY)
def test_saved_weights_give_the_same_answers(line: Line) -> None:
    names = line.names  # as a run does: `finish` first, which may set what is saved
    expected = checkpoint_compute(line.graph, names)(line.rows())
    other = line.new_graph()
    assert set(line.graph.state_dict()) == set(other.state_dict())
    other.load_state_dict(line.graph.state_dict())
    got = checkpoint_compute(other, names)(line.rows())
    for row, same in zip(expected, got, strict=True):
        assert all(np.array_equal(row[name], same[name]) for name in names)


@on(ONE_WAY)
def test_the_exported_graph_gives_the_same_answers_at_other_batch_sizes(line: Line, tmp_path: Path) -> None:
    inputs, outputs = line.preprocess.input_specs(), line.meaning.output_specs(line.preprocess)
    export_onnx(line.graph, inputs, outputs, tmp_path / "model.onnx")
    runtime = OrtRuntime(tmp_path / "model.onnx")
    assert (runtime.inputs, runtime.outputs) == (inputs, outputs)
    assert not (tmp_path / "model.onnx.data").exists()
    rows = line.rows()
    expected = checkpoint_compute(line.graph, line.names)(rows)
    for alike in group_alike(rows):
        for size in (1, 3, 5):
            chosen = [alike[i % len(alike)] for i in range(size)]
            got = unstack(runtime.run(stack([rows[i] for i in chosen])))
            assert line.far([expected[i] for i in chosen], got) == {}, f"batch {size}"


@on(EVERY_WAY)
def test_a_row_is_the_same_alone_and_in_a_batch(line: Line) -> None:
    rows = line.rows()
    compute = checkpoint_compute(line.graph, line.names)
    for alike in group_alike(rows):
        together = compute([rows[i] for i in alike] * 2)
        alone = [compute([rows[i]])[0] for i in alike] * 2
        assert line.far(alone, together) == {}


@on(TEXTS)
@pytest.mark.parametrize("more", [1, 7, 32])
def test_a_text_that_is_padded_longer_gives_the_same_answer(line: Line, more: int) -> None:
    rows = line.rows()
    pads = {"input_ids": line.preprocess.pad_id}  # type: ignore[union-attr]
    longer = [{name: np.pad(row[name], (0, more), constant_values=pads.get(name, 0)) for name in row} for row in rows]
    compute = checkpoint_compute(line.graph, line.names)
    assert line.far(compute(rows), compute(longer)) == {}


@on(TEXTS)
def test_what_stands_in_the_padding_does_not_matter(line: Line) -> None:
    """A training batch is padded with zeros whatever the padding's id is."""
    rows = line.rows()
    other = [row | {"input_ids": np.where(row["attention_mask"] == 1, row["input_ids"], 5)} for row in rows]
    compute = checkpoint_compute(line.graph, line.names)
    assert line.far(compute(rows), compute(other)) == {}


@on(ONE_WAY)
def test_answers_to_unlike_inputs_are_unlike(line: Line) -> None:
    rows = checkpoint_compute(line.graph, line.names)(line.rows())
    assert any(max(line.meaning.differences(rows[0], other).values()) > 0 for other in rows[1:])
