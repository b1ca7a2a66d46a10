import json
from pathlib import Path

import msgspec
import numpy as np

from serving.oip.description import DESCRIBED, InferAnswer, infer_paths
from serving.oip.request import InferDocument
from serving.oip.response import OutputTensor, write
from tests.serving.oip.manifests import image_manifest

REF = "#/components/schemas/{name}"


def test_every_type_that_is_referred_to_is_described() -> None:
    schemas = msgspec.json.schema_components(DESCRIBED, ref_template=REF)[1]
    text = json.dumps(infer_paths(REF))
    for name in ("InferDocument", "InferAnswer"):
        assert REF.format(name=name) in text
        assert name in schemas


def test_the_body_that_is_described_is_the_one_that_is_read() -> None:
    assert InferDocument.__struct_fields__ == ("inputs", "id", "parameters", "outputs")


def test_an_answer_fits_its_description(tmp_path: Path) -> None:
    body, _ = write(
        image_manifest(tmp_path), "7", [OutputTensor("scores", "FP32", np.zeros((1, 3), np.float32), binary=False)]
    )
    strict = msgspec.json.decode(body, type=InferAnswer)
    assert json.loads(body).keys() <= set(InferAnswer.__struct_fields__)
    assert strict.outputs[0].data == [0, 0, 0]
