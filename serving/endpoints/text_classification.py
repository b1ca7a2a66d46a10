"""`POST /v1/text/classify`: texts in, labels out."""

from bundle.tasks.classification import ClassificationOptions
from bundle.tasks.text_classification import TextClassification
from serving.endpoints.endpoint import Endpoint
from serving.http.media import TEXTS

ENDPOINT = Endpoint(
    path="/v1/text/classify",
    task="text-classification",
    summary="Classify texts",
    medium=TEXTS,
    options_type=ClassificationOptions,
    result_type=TextClassification,
    example="top_k=2",
)
