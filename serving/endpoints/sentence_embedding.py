"""`POST /v1/text/embed`: texts in, vectors out. `serving/http/openai.py` gives the same vectors in OpenAI's shape."""

from bundle.tasks.sentence_embedding import SentenceEmbedding, SentenceEmbeddingOptions
from serving.endpoints.endpoint import Endpoint
from serving.http.media import TEXTS

ENDPOINT = Endpoint(
    path="/v1/text/embed",
    task="sentence-embedding",
    summary="Embed texts: a vector each",
    medium=TEXTS,
    options_type=SentenceEmbeddingOptions,
    result_type=SentenceEmbedding,
)
