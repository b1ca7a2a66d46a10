"""Training on data of one's own without writing code: a look at the data gives a whole configuration.

`modelyard train KIND --data ...`: each kind is a function from where the data lies to a TrainConfig, whose every
setting can be overridden. A new kind is a file here and a line in OWN_DATA. Knows data sets and configurations. Knows
nothing of how they are carried out.
"""

from collections.abc import Callable

from bundle.errors import RunError
from bundle.tables import entry
from training.config import TrainConfig

OWN_DATA = {
    "image_classifier": "training.own_data.image_classifier:image_classifier",
    "detector": "training.own_data.detector:detector",
    "segmenter": "training.own_data.segmenter:segmenter",
    "anomaly_detector": "training.own_data.anomaly_detector:anomaly_detector",
    "text_classifier": "training.own_data.text_classifier:text_classifier",
}
"""Kind -> "module:function", imported on use."""


def load_own_data(kind: str) -> Callable[..., TrainConfig]:
    """The function behind a kind.

    Raises:
        RunError: no such kind.
    """
    function: Callable[..., TrainConfig] = entry(OWN_DATA, kind, "kind of model", RunError)
    return function
