from pathlib import Path

from bundle.manifest import Manifest
from serving.oip.metadata import Scheduling, model_config, model_metadata, server_metadata
from tests.serving.oip.manifests import image_manifest, series_manifest, text_manifest


def test_only_extensions_that_work_are_named() -> None:
    closed, opened = server_metadata(admin=False)["extensions"], server_metadata(admin=True)["extensions"]
    assert set(opened) - set(closed) == {"model_repository"}
    assert not {"sequence", "system_shared_memory", "cuda_shared_memory", "trace", "logging"} & set(opened)


def test_metadata_name_the_batch_and_every_variable_size(tmp_path: Path) -> None:
    def read(manifest: Manifest) -> tuple[list[tuple[str, str, list[int]]], ...]:
        found = model_metadata(manifest, [1, 3], "onnxruntime")
        assert found["versions"] == ["1", "3"]
        return tuple([tuple(one.values()) for one in found[side]] for side in ("inputs", "outputs"))

    assert read(image_manifest(tmp_path)) == (
        [("image", "UINT8", [-1, 8, 8, 3])],
        [("scores", "FP32", [-1, 3])],
    )
    assert read(series_manifest(tmp_path)) == (
        [("series", "FP32", [-1, 4])],
        [("anomaly_score", "FP32", [-1]), ("errors", "FP32", [-1, 4])],
    )
    assert read(text_manifest(tmp_path))[0] == [
        ("input_ids", "INT64", [-1, -1]),
        ("attention_mask", "INT64", [-1, -1]),
    ]


def test_a_configuration_leaves_the_batch_out_of_shapes(tmp_path: Path) -> None:
    config = model_config(image_manifest(tmp_path), Scheduling(max_batch_size=4, max_queue_delay_us=500), [1])
    assert config["max_batch_size"] == 4
    assert config["input"] == [
        {"name": "image", "data_type": "TYPE_UINT8", "dims": [8, 8, 3], "format": "FORMAT_NHWC"},
    ]
    assert config["output"] == [{"name": "scores", "data_type": "TYPE_FP32", "dims": [3]}]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 500
    assert "image/jpeg" in config["parameters"]["encoded_input"]["string_value"]
