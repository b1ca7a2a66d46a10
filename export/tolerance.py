"""How far an artefact may be from the checkpoint, with the reason for each number.

Scores are probabilities, so errors are absolute. Figures are from 2026-11 on an x86 CPU with AVX512-VNNI,
torch 2.13.0 and onnxruntime 1.31.1; `docs/log.md` has the measurements. Those of fp16 were seen with its rounding
rehearsed on that CPU (export/rehearse.py), and limits leave room for the sums of a GPU's kernels. int8 for TensorRT is
held to the limits of int8, but for rows in company: which of its values lie between two levels depends on the kernel,
and kernels are chosen by the size of a batch.
"""

from bundle.spec import Spec


class Tolerance(Spec):
    """Limits for one precision."""

    atol: float
    """Largest error of an output value on golden inputs."""
    random_atol: float
    """Largest error of an output value on random inputs, which no calibration has seen."""
    batch_atol: float
    """Largest change of a row's output between batch sizes: the same row alone and in company."""
    disagreement_share: float
    """Share of test answers that may differ from the checkpoint's; what `answer_atol` allows does not count."""
    max_metric_drop: float
    """How much worse than the checkpoint's the task's metric may be on the test split."""
    answer_atol: float = 1e-5
    """How far a test answer may be off and still be the same. Of choices (labels) only what fp32 arithmetic can swap is
    a tie, whatever the artefact's precision; answers that are measurements themselves are allowed what theirs costs."""


SCORES = {
    "fp32": Tolerance(
        # The same arithmetic in another order. Seen: 4e-7; twenty times that leaves room for other processors'
        # kernels, and 1e-5 of a probability changes no answer that is not a tie.
        atol=1e-5,
        random_atol=1e-5,
        # Kernels are chosen by shape, so another batch size may add in another order.
        batch_atol=1e-5,
        disagreement_share=0.0,
        max_metric_drop=0.0005,  # ties alone: one test picture in two thousand
    ),
    "fp16": Tolerance(
        # 11 bits are 0.0005 of a logit's size, and a score moves by a quarter of what its logit does. Seen: 6e-5.
        atol=0.005,
        random_atol=0.01,  # logits are larger on noise; seen: 7e-4
        # Seen: 0, but a GPU's kernels are chosen by shape, and each rounds its own sums to 11 bits.
        batch_atol=0.005,
        disagreement_share=0.005,  # only what lies within such an error of a tie; seen: 0 of 359 and 0 of 1,821
        max_metric_drop=0.001,  # seen: 0
    ),
    "int8": Tolerance(
        # One of 255 levels is 0.4 % of a layer's range, and a softmax sharpens it where a picture lies between two
        # classes. Seen: 0.004 (digits) and 0.012 (Fashion-MNIST); the metric below is the sharper judge.
        atol=0.1,
        # Noise lies outside the calibrated ranges and saturates. Seen: 0.018 and 0.022; a broken graph is near 1.
        random_atol=0.25,
        # int8 arithmetic is exact whatever the batch; only the fp32 ends may round differently.
        batch_atol=1e-5,
        # Seen: 0 of 359 and 17 of 10,000 answers, all between two near classes.
        disagreement_share=0.01,
        max_metric_drop=0.005,  # half a point: what users of int8 accept for a 2-3x speed-up
    ),
}
"""By precision, for scores that sum to 1."""
SCORES["int8-trt"] = SCORES["int8"].model_copy(update={"batch_atol": 0.02})  # seen: 6e-8; one level may be 0.01

EMBEDDINGS = {
    "fp32": Tolerance(
        # Seen (MiniLM): 8e-13. A millionth is a cosine of 0.999999, and no ranking that is not a tie changes.
        atol=1e-6,
        random_atol=1e-6,
        batch_atol=1e-6,
        disagreement_share=0.0,
        max_metric_drop=1e-6,
        answer_atol=1e-6,
    ),
    "fp16": Tolerance(
        # A cosine of 0.9999, which moves neighbours in a search only where they are as good as equal. Seen: 1e-6.
        atol=1e-4,
        random_atol=1e-4,  # seen: 1e-6
        batch_atol=1e-4,
        disagreement_share=0.0,
        max_metric_drop=1e-4,  # of the mean cosine. Seen: 7e-7
        answer_atol=1e-4,
    ),
    "int8": Tolerance(
        # A cosine of 0.99: neighbours in a search stay neighbours. Seen (MiniLM, all figures): 0.002 on golden texts.
        atol=0.01,
        # Seen: 0.006 on random tokens; a broken graph is near 1.
        random_atol=0.05,
        # Every token has its own scale. Seen: 3e-14; a value between two levels may be rounded the other way.
        batch_atol=1e-5,
        # Seen: 0 of 1,000 sentences below 0.99, the lowest 0.9925.
        disagreement_share=0.01,
        max_metric_drop=0.01,  # of the mean cosine. Seen: 0.0012
        answer_atol=0.01,
    ),
}
"""By precision, for vectors; the unit is 1 - cosine."""
EMBEDDINGS["int8-trt"] = EMBEDDINGS["int8"].model_copy(update={"batch_atol": 0.005})

MASKS = {
    "fp32": Tolerance(
        # Mean error of a score over the pixels; a flipped pixel counts with half the margin that it had. Seen: 2e-7.
        # One sure pixel of 240x180 that flips is already more than the limit.
        atol=1e-5,
        random_atol=1e-5,  # seen: 1.1e-6
        batch_atol=1e-5,
        disagreement_share=0.0,
        max_metric_drop=0.0005,
    ),
    "fp16": Tolerance(
        atol=0.005,  # seen: 0.00017 of a margin (shapes_unet)
        random_atol=0.01,  # seen: 0.0007
        batch_atol=0.005,  # seen: 0, but a GPU's kernels are chosen by shape
        disagreement_share=0.01,  # one of a hundred pictures; seen: 0 of 100
        max_metric_drop=0.001,  # seen: better by 0.00003
    ),
    "int8": Tolerance(
        atol=0.03,  # seen: 0.0095 (camvid_unet)
        random_atol=0.2,  # noise is far outside of the calibrated ranges; seen: 0.098
        batch_atol=1e-5,
        disagreement_share=0.01,  # at the level of `agree`, which allows 3 % of the pixels; seen: 0 of 50
        max_metric_drop=0.005,  # seen: better by 0.0003 and 0.0014
    ),
}
"""By precision, for a class and its margin a pixel."""
MASKS["int8-trt"] = MASKS["int8"].model_copy(update={"batch_atol": 0.01})  # seen: 0

BOXES = {
    "fp32": Tolerance(
        # The least change of a score or of a side (0..1 of the picture) that turns one answer into the other.
        atol=1e-5,  # seen: 6e-7
        random_atol=1e-5,
        batch_atol=1e-5,  # seen: 0
        disagreement_share=0.0,
        max_metric_drop=0.0005,
    ),
    "fp16": Tolerance(
        atol=0.02,  # seen: 0.001 of a score, 0.00016 of a side (shapes_detector)
        random_atol=0.1,  # noise is full of candidates that nearly tie; seen: 0.019 and 0.0002
        batch_atol=0.02,  # seen: 0, but a GPU's kernels are chosen by shape
        # A picture differs when one box of its dozens crosses the threshold. Seen: 1 of 100.
        disagreement_share=0.02,
        max_metric_drop=0.001,  # seen: better by 0.0003
    ),
    "int8": Tolerance(
        atol=0.1,  # seen: 0.055 of a score, 0.011 of a side (bccd_detector)
        random_atol=0.25,  # seen: 0.18 and 0.07
        batch_atol=1e-5,
        # A picture differs when one box of its dozens crosses the threshold. Seen: 16 of 72 test pictures, so the
        # int8 of bccd_detector is left out; it also loses 0.0052 of mAP on validation.
        disagreement_share=0.01,
        max_metric_drop=0.005,
    ),
}
"""By precision, for boxes, labels and scores."""
BOXES["int8-trt"] = BOXES["int8"].model_copy(update={"batch_atol": 0.02})  # seen: 0

DEVIATIONS = {
    "fp32": Tolerance(
        # Scores are r / (r + threshold), maps count by their mean. Seen: 9e-6 of a score over a network that first
        # stretches a picture's contrast (magnetic_tile_painted).
        atol=5e-5,
        random_atol=5e-5,
        batch_atol=5e-5,
        disagreement_share=0.0,
        max_metric_drop=0.0005,
        answer_atol=5e-5,
    ),
    "fp16": Tolerance(
        # Errors of single values are differences of near numbers, of which fp16 keeps fewer bits. Seen: 0.0003 of a
        # score, 0.0032 of an error (ecg5000_autoencoder), 0.0001 of a map (scratches_painted).
        atol=0.02,
        random_atol=0.02,  # seen: 0.0012
        batch_atol=0.02,  # seen: 6e-8, but a GPU's kernels are chosen by shape
        disagreement_share=0.005,  # seen: 0 of 4,500 and 0 of 120
        max_metric_drop=0.001,  # seen: 0
        answer_atol=5e-5,
    ),
    "int8": Tolerance(
        atol=0.1,  # seen: 0.051
        random_atol=0.25,  # seen: 0.039
        batch_atol=5e-5,
        # Verdicts near the threshold flip. Seen: 3 of 108 on validation, 6 of 150 on test (magnetic_tile_painted, which
        # is left out) and none (magnetic_tile_autoencoder).
        disagreement_share=0.01,
        max_metric_drop=0.005,
        answer_atol=5e-5,
    ),
}
"""By precision, for anomaly scores and where they come from."""
DEVIATIONS["int8-trt"] = DEVIATIONS["int8"].model_copy(update={"batch_atol": 0.02})  # seen: 9e-8

TOLERANCES: dict[str, dict[str, Tolerance]] = {
    "image-classification": SCORES,
    "image-segmentation": MASKS,
    "object-detection": BOXES,
    "anomaly-detection": DEVIATIONS,
    "series-anomaly-detection": DEVIATIONS,
    "text-classification": SCORES,
    "sentence-embedding": EMBEDDINGS,
}
"""By task, then by precision: each task's `differences` has its own unit."""


def tolerance(task: str, precision: str) -> Tolerance:
    """The limits of one task at one precision, by the artefact's name: "int8-trt" has some of its own."""
    return TOLERANCES[task][precision]
