"""`POST /v1/classify`: pictures in, labels out."""

from bundle.preprocess.image import FORMATS
from bundle.tasks.classification import Classification, ClassificationOptions
from serving.endpoints.endpoint import Endpoint

CLASSIFY = Endpoint(
    path="/v1/classify",
    task="image-classification",
    summary="Classify pictures",
    accepts=tuple(FORMATS.values()),
    options_type=ClassificationOptions,
    result_type=Classification,
)
