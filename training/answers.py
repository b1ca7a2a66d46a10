"""What a checkpoint answers: prepare as serving does, compute with torch, decode as serving does.

Results, golden samples and the proof of every artefact come from here. Knows a Graph and a task's meaning. Knows
nothing of engines.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from bundle.golden import Golden, write_golden
from bundle.manifest import GoldenSample
from bundle.preprocess import Prepare, Prepared, Preprocess
from bundle.tasks import Task
from bundle.tensors import Compute, Tensors, group_alike, stack, unstack
from training.data.prepared import prepare_sample
from training.data.samples import Samples

NUM_GOLDEN = 16
FORWARD_BATCH = 64
CHUNK = 256


def checkpoint_compute(graph: nn.Module, output_names: Sequence[str]) -> Compute:
    """The checkpoint's own outputs for prepared rows, in float32 on the CPU: what artefacts are held to."""
    graph = graph.eval().float().cpu()

    def batch(rows: list[Tensors]) -> list[Tensors]:
        values = graph(*(torch.from_numpy(array) for array in stack(rows).values()))
        named = zip(output_names, (values,) if isinstance(values, torch.Tensor) else values, strict=True)
        return unstack({name: value.numpy() for name, value in named})

    def compute(rows: list[Tensors]) -> list[Tensors]:
        outputs: list[Tensors] = [{}] * len(rows)
        with torch.inference_mode():
            for alike in group_alike(rows):
                for start in range(0, len(alike), FORWARD_BATCH):
                    chosen = alike[start : start + FORWARD_BATCH]
                    for i, row in zip(chosen, batch([rows[i] for i in chosen]), strict=True):
                        outputs[i] = row
        return outputs

    return compute


def output_names(task: Task[Any, Any], preprocess: Preprocess) -> list[str]:
    """Names of a task's outputs, in the order that its tail gives them."""
    return [spec.name for spec in task.output_specs(preprocess)]


def answer(samples: Samples, prepare: Prepare, compute: Compute, task: Task[Any, Any]) -> list[msgspec.Struct]:
    """The answers to every sample, from its raw bytes, showing as much as golden samples do."""
    options = task.golden_options()
    answers: list[msgspec.Struct] = []
    for start in range(0, len(samples), CHUNK):
        chunk = range(start, min(start + CHUNK, len(samples)))
        prepared = prepare_all(samples, chunk, prepare)
        rows = compute([one.tensors for one in prepared])
        answers += [task.decode(row, one.source, options) for row, one in zip(rows, prepared, strict=True)]
    return answers


def prepare_all(samples: Samples, indices: Sequence[int], prepare: Prepare) -> list[Prepared]:
    """Prepare chosen samples side by side.

    Raises:
        DataError: one of them cannot be read.
    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda i: prepare_sample(samples, i, prepare), indices))


def record_golden(
    folder: Path, samples: Samples, prepare: Prepare, compute: Compute, task: Task[Any, Any]
) -> tuple[GoldenSample, ...]:
    """Answer chosen samples and write them under `folder`/golden, with tensors and answers."""
    chosen = spread(samples, NUM_GOLDEN)
    prepared = prepare_all(samples, chosen, prepare)
    outputs = compute([one.tensors for one in prepared])
    options = task.golden_options()
    golden = [
        Golden(samples.raw(i), samples.media_type(i), one.tensors, row, task.decode(row, one.source, options))
        for i, one, row in zip(chosen, prepared, outputs, strict=True)
    ]
    return write_golden(folder, golden)


def spread(samples: Samples, count: int) -> list[int]:
    """Indices of `count` samples, going round the strata so that each is seen as early as possible."""
    by_stratum: dict[int, list[int]] = {}
    for i in range(len(samples)):
        by_stratum.setdefault(samples.stratum(i), []).append(i)
    rounds = zip_longest(*(by_stratum[stratum] for stratum in sorted(by_stratum)))
    return [i for turn in rounds for i in turn if i is not None][:count]
