"""Anomaly detection in pictures: how far from normal the whole is, and where.

Graphs give bounded measures: 0 is perfectly normal, 0.5 is the threshold that training set from normal samples alone,
and r / (r + t) stands for a raw deviation r at a raw threshold t. So scores of unlike models read alike.
Knows score and map tensors, and where the threshold lies. Knows nothing of how either was made.
"""

from typing import Annotated, ClassVar, Literal, Protocol

import msgspec
import numpy as np
from pydantic import Field

from bundle.heatmap import LEVELS, decode_map, encode_map
from bundle.preprocess import ImageResize, ImageSource
from bundle.shares import Counts, count_one, count_scores, shares, sums
from bundle.spec import Spec
from bundle.tensors import Array, Tensors, TensorSpec, max_abs_error, mean_abs_error

MIN_PIXEL_AGREEMENT = 0.98  # of the map's pixels on the same side of its threshold: what looks the same to a person
THRESHOLD_HELP = "call it anomalous from this score on; left out, the model's own threshold"
FORMAT_HELP = "json: numbers and the map; png: the map over the picture, outlined where it is over its threshold"

Threshold = Annotated[float, Field(gt=0, lt=1)]
ChosenThreshold = Annotated[float, msgspec.Meta(ge=0, le=1, description=THRESHOLD_HELP)]


class AnomalyDecode(Spec):
    """From which score on a picture, and from which map value on a pixel, is anomalous."""

    kind: Literal["anomaly"] = "anomaly"
    threshold: Threshold = 0.5
    map_threshold: Threshold = 0.5


class AnomalyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller may choose for one request."""

    threshold: ChosenThreshold | None = None
    format: Annotated[Literal["json", "png"], msgspec.Meta(description=FORMAT_HELP)] = "json"


class AnomalyMap(msgspec.Struct, frozen=True):
    """Where the anomaly is: a grey 8-bit PNG of the input picture's own size; grey value / 255 is the map, 0 to 1."""

    b64: bytes
    """The PNG (base64 in JSON)."""
    threshold: float
    """A pixel belongs to the anomaly from this value of the map on."""
    share: float
    """Share of such pixels."""


class Anomaly(msgspec.Struct, frozen=True):
    """How far from normal a picture is (0 to 1), whether that is too far, and where."""

    anomaly_score: float
    threshold: float
    is_anomalous: bool
    anomaly_map: AnomalyMap


class Verdict(Protocol):
    """What answers about series and pictures have in common."""

    @property
    def anomaly_score(self) -> float:
        """0 to 1."""
        ...

    @property
    def threshold(self) -> float:
        """The one that was applied."""
        ...

    @property
    def is_anomalous(self) -> bool:
        """Whether the score reaches the threshold."""
        ...


class AnomalyTask:
    """Score and map -> verdict. The graph gives `anomaly_score` [batch] and `anomaly_map` [batch, height, width]."""

    decode_type: ClassVar[type] = AnomalyDecode
    options_type = AnomalyOptions
    result_type = Anomaly

    def __init__(self, parameters: AnomalyDecode) -> None:
        self._threshold = parameters.threshold
        self._map_threshold = parameters.map_threshold

    def output_specs(self, preprocess: ImageResize) -> tuple[TensorSpec, ...]:
        """The score, and a map of the size of the prepared picture; float32, 0 to 1."""
        map_shape = ("batch", preprocess.height_px, preprocess.width_px)
        return (
            TensorSpec(name="anomaly_score", dtype="float32", shape=("batch",)),
            TensorSpec(name="anomaly_map", dtype="float32", shape=map_shape),
        )

    def golden_options(self) -> AnomalyOptions:
        """The model's own threshold."""
        return AnomalyOptions()

    def decode(self, outputs: Tensors, source: ImageSource, options: AnomalyOptions) -> Anomaly:
        """The verdict on one picture, and its map in the picture's own size."""
        score = float(outputs["anomaly_score"])
        threshold = self._threshold if options.threshold is None else options.threshold
        png = encode_map(outputs["anomaly_map"], source.height_px, source.width_px)
        share = float(np.mean(decode_map(png) >= self._map_threshold))
        return Anomaly(score, threshold, score >= threshold, AnomalyMap(png, self._map_threshold, share))

    def differences(self, expected: Tensors, got: Tensors) -> dict[str, float]:
        """Largest error of the score, and mean error of the map.

        The mean, since a rim that moves by a pixel turns single values of a map from one end to the other.
        """
        return {
            "anomaly_score": max_abs_error(expected["anomaly_score"], got["anomaly_score"]),
            "anomaly_map": mean_abs_error(expected["anomaly_map"], got["anomaly_map"]),
        }

    def agree(self, expected: Anomaly, got: Anomaly, atol: float) -> str | None:
        """Same verdict, ties aside; and maps that lie on the same side of their threshold nearly everywhere."""
        return verdicts_differ(expected, got, atol) or _maps_differ(expected.anomaly_map, got.anomaly_map, atol)

    def summarise(self, results: list[Anomaly]) -> dict[str, list[float]]:
        """See `count_verdict`."""
        return shares(sums(map(self.count, results)))

    def count(self, result: Anomaly) -> Counts:
        """See `count_verdict`."""
        return count_verdict(result)


def verdicts_differ(expected: Verdict, got: Verdict, atol: float) -> str | None:
    """Say how two verdicts differ, or None. A score within `atol` of the threshold may fall on either side."""
    if abs(expected.threshold - got.threshold) > 0:
        return f"expected a verdict at threshold {expected.threshold:.4f}, got one at {got.threshold:.4f}"
    if expected.is_anomalous == got.is_anomalous or abs(expected.anomaly_score - expected.threshold) <= atol:
        return None
    names = {True: "anomalous", False: "normal"}
    return (
        f"expected {names[expected.is_anomalous]} (score {expected.anomaly_score:.4f}), "
        f"got {names[got.is_anomalous]} ({got.anomaly_score:.4f}), and an error of {atol:g} "
        f"cannot carry it over the threshold {expected.threshold:.4f}"
    )


def count_verdict(result: Verdict) -> Counts:
    """`anomalous_share` (normal, anomalous) and `score_histogram` in ten equal bins, the threshold in the middle."""
    return {
        "anomalous_share": count_one(int(result.is_anomalous), 2),
        "score_histogram": count_scores([result.anomaly_score]),
    }


def _maps_differ(expected: AnomalyMap, got: AnomalyMap, atol: float) -> str | None:
    if expected.threshold != got.threshold:
        return f"expected a map with threshold {expected.threshold:.4f}, got one with {got.threshold:.4f}"
    want, have = decode_map(expected.b64), decode_map(got.b64)
    if want.shape != have.shape:
        return f"expected a map of {_size(want)}, got one of {_size(have)}"
    tie = np.abs(want - expected.threshold) <= atol + 1 / LEVELS
    same = float(np.mean(tie | ((want >= expected.threshold) == (have >= got.threshold))))
    if same >= MIN_PIXEL_AGREEMENT:
        return None
    return f"{1 - same:.1%} of the map's pixels changed sides; at most {1 - MIN_PIXEL_AGREEMENT:.1%} may"


def _size(map_HW: Array) -> str:
    return f"{map_HW.shape[1]} x {map_HW.shape[0]} pixels"
