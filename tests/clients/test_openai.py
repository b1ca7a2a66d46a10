"""OpenAI's client, unmodified."""

import numpy as np
import pytest

from tests.clients.conftest import Running

openai = pytest.importorskip("openai", reason="openai is not installed here")


@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings(server: Running, form: str) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        assert [one.id for one in client.models.list().data] == ["embedder"]
        answer = client.embeddings.create(model="embedder", input=["good film", "bad film"], encoding_format=form)
        assert len(answer.data) == 2
        if form == "float":
            assert np.array([one.embedding for one in answer.data]).shape == (2, 4)
        with pytest.raises(openai.NotFoundError, match="nobody"):
            client.embeddings.create(model="nobody", input="x")
