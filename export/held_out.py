"""The test split of a bundle of ours, where its data and the training extra are at hand on this machine.

Knows what a recipe left in the manifest, data sets and metrics (torch comes with them). Knows nothing of devices.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from bundle.errors import DataError, ModelyardError
from bundle.evidence import Check
from bundle.preprocess import load_preprocess
from bundle.store import Bundle
from export.evaluate import Evaluation, Reference, check_evaluation, evaluate
from export.tolerance import Tolerance
from runtime.predictor import Predictor
from training.config import TrainConfig
from training.data import Splits
from training.data.fetch import MIRROR_VARIABLE, PUBLIC
from training.tasks import training_task


@dataclass(frozen=True)
class ScoredSplit:
    """Samples nobody has trained on, what the fp32 artefact answers, and the metric that the checkpoint earned."""

    bundle: Bundle
    reference: Reference
    want: Evaluation

    @property
    def num_samples(self) -> int:
        """How many."""
        return len(self.want.answers)

    def check(self, predictor: Predictor, limits: Tolerance) -> list[Check]:
        """Hold a predictor's answers and metric to them.

        Raises:
            ParityError: too many differ, or the metric dropped too far.
        """
        prepare = load_preprocess(self.bundle.manifest.preprocess, self.bundle.folder)
        got = evaluate(self.reference, predictor.run, prepare, predictor.task)
        return check_evaluation(predictor.task, self.reference, self.want, got, limits)


def score_held_out(bundle: Bundle, expected: Predictor, may_download: bool) -> ScoredSplit:
    """Load the split and have the fp32 artefact, `expected`, answer it.

    Raises:
        DataError: not a bundle of ours, or its data is not at hand.
    """
    manifest = bundle.manifest
    config = _config(bundle)
    splits = _splits(bundle, config, may_download)
    task = training_task(config.task)(splits.labels, config.preprocess)
    compute = expected.run
    what = "the fp32 artefact on this machine's CPU"
    reference = Reference(what, compute, splits.test, task.score, task.metric_name, task.better)
    want = evaluate(reference, compute, load_preprocess(manifest.preprocess, bundle.folder), expected.task)
    evidence = next(one.evidence for one in manifest.artefacts.values() if one.evidence)
    if evidence.metric_name != task.metric_name:
        raise DataError(f"the manifest tells {evidence.metric_name}, this version scores {task.metric_name}")
    return ScoredSplit(bundle, reference, replace(want, metric=evidence.metric["checkpoint"]))


def _config(bundle: Bundle) -> TrainConfig:
    origin = bundle.manifest.provenance
    try:
        return TrainConfig.model_validate(origin.arguments)
    except (ValidationError, ModelyardError):
        raise DataError(
            f"'{bundle.manifest.name}' was made by '{origin.recipe}', which has no test split of a recipe"
        ) from None


def _splits(bundle: Bundle, config: TrainConfig, may_download: bool) -> Splits:
    name = config.data.dataset
    mirror = os.environ.get(MIRROR_VARIABLE)
    if name in PUBLIC and not may_download and not (mirror and (Path(mirror) / name).is_dir()):
        raise DataError(
            f"data set '{name}' is not in a local mirror ({MIRROR_VARIABLE} names {mirror or 'none'}), and only "
            "`--test-split yes` may download"
        )
    splits = config.data.load()
    if splits.sha256() != bundle.manifest.provenance.data_sha256:
        raise DataError(f"data set '{name}' here is not what the bundle's model was trained on (another sha256)")
    return splits
