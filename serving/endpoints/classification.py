"""`POST /v1/classify`: pictures in, labels out."""

from bundle.tasks.classification import Classification, ClassificationOptions
from serving.endpoints.endpoint import Endpoint
from serving.http.media import IMAGES

ENDPOINT = Endpoint(
    path="/v1/classify",
    task="image-classification",
    summary="Classify pictures",
    medium=IMAGES,
    options_type=ClassificationOptions,
    result_type=Classification,
    example="top_k=3",
)
