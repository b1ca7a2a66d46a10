import json
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import BadInput
from bundle.manifest import Manifest
from serving.oip.parameters import OutputWish, Wishes
from serving.oip.request import InferRequest
from serving.oip.response import OutputTensor, PlannedOutput, check_in_json, outputs_of, plan, write
from tests.builders import LABELS
from tests.serving.oip.manifests import image_manifest, series_manifest

ROWS = [{"anomaly_score": np.float32(i) / 2, "errors": np.arange(4, dtype=np.float32) + i} for i in range(2)]
ROWS = [{name: np.asarray(array) for name, array in row.items()} for row in ROWS]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return series_manifest(tmp_path_factory.mktemp("models"))


def asked(*outputs: OutputWish, binary: bool = False) -> InferRequest:
    return InferRequest([], list(outputs) or None, wishes=Wishes(binary_outputs=binary))


def test_all_outputs_come_where_none_is_asked_for(series: Manifest) -> None:
    assert [one.name for one in plan(series, asked())] == ["anomaly_score", "errors"]


def test_outputs_come_in_the_order_asked_for(series: Manifest) -> None:
    planned = plan(series, asked(OutputWish("errors"), OutputWish("anomaly_score")))
    body, size = write(series, "7", outputs_of(planned, ROWS))
    assert size is None
    assert json.loads(body) == {
        "model_name": "beats",
        "model_version": "1",
        "id": "7",
        "outputs": [
            {"name": "errors", "datatype": "FP32", "shape": [2, 4], "data": [0, 1, 2, 3, 1, 2, 3, 4]},
            {"name": "anomaly_score", "datatype": "FP32", "shape": [2], "data": [0, 0.5]},
        ],
    }


def test_an_id_that_was_not_given_is_not_answered(series: Manifest) -> None:
    assert "id" not in json.loads(write(series, "", outputs_of(plan(series, asked()), ROWS))[0])


def test_an_output_of_its_own_mind_overrules_the_request(series: Manifest) -> None:
    planned = plan(series, asked(OutputWish("errors", binary=False), OutputWish("anomaly_score"), binary=True))
    body, size = write(series, "", outputs_of(planned, ROWS))
    document = json.loads(body[:size])
    assert document["outputs"][0]["data"] == [0, 1, 2, 3, 1, 2, 3, 4]
    assert document["outputs"][1] == {
        "name": "anomaly_score",
        "datatype": "FP32",
        "shape": [2],
        "parameters": {"binary_data_size": 8},
    }
    assert body[size:] == np.array([0, 0.5], np.float32).tobytes()


def test_an_output_that_is_not_there_is_refused(series: Manifest) -> None:
    with pytest.raises(BadInput, match="unexpected inference output 'scores' for model 'beats'; it has anomaly_score"):
        plan(series, asked(OutputWish("scores")))


def test_halves_of_floats_are_answered_binary_or_not_at_all() -> None:
    with pytest.raises(BadInput, match="'y' is FP16, which has no form in JSON; please use the binary data format"):
        check_in_json([PlannedOutput("y", "FP16", binary=False)])
    check_in_json([PlannedOutput("y", "FP16", binary=True)])


def test_what_is_no_number_is_null_in_json_and_itself_in_binary(series: Manifest) -> None:
    odd = np.array([[np.nan, np.inf, -np.inf, 1]], np.float32)
    body, _ = write(series, "", [OutputTensor("errors", "FP32", odd, binary=False)])
    assert json.loads(body)["outputs"][0]["data"] == [None, None, None, 1]
    body, size = write(series, "", [OutputTensor("errors", "FP32", odd, binary=True)])
    assert body[size:] == odd.tobytes()


@pytest.mark.parametrize("binary", [True, False])
def test_classes_come_as_texts_with_labels(tmp_path: Path, binary: bool) -> None:
    manifest = image_manifest(tmp_path)
    planned = plan(manifest, asked(OutputWish("scores", classes=2, binary=binary)))
    rows = [{"scores": np.array([0.25, 0.5, 0.125], np.float32)}, {"scores": np.array([1, 0, 0.5], np.float32)}]
    (output,) = outputs_of(planned, rows)
    wanted = [[f"0.5:1:{LABELS[1]}", f"0.25:0:{LABELS[0]}"], [f"1.0:0:{LABELS[0]}", f"0.5:2:{LABELS[2]}"]]
    assert [[one.decode() for one in row] for row in output.array] == wanted
    body, size = write(manifest, "", [output])
    described = json.loads(body[:size])["outputs"][0]
    assert (described["datatype"], described["shape"]) == ("BYTES", [2, 2])
    if not binary:
        assert described["data"] == [*wanted[0], *wanted[1]]


def test_rows_whose_outputs_are_unlike_are_not_joined() -> None:
    rows = [{"y": np.zeros(2)}, {"y": np.zeros(3)}]
    with pytest.raises(BadInput, match="unlike shapes; send the rows one by one"):
        outputs_of([PlannedOutput("y", "FP64", binary=True)], rows)
