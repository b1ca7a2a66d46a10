"""`modelyard train segmenter`: a folder of pictures and masks is a whole configuration."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from tests.training.data.test_mask_folder import NUM, write
from training.config import TrainConfig
from training.own_data.segmenter import segmenter


def test_a_folder_gives_a_configuration_that_fits_it(tmp_path: Path) -> None:
    config = segmenter(write(tmp_path))
    assert (config.preprocess.height_px, config.preprocess.width_px) == (12, 16)
    assert (config.task, config.name) == ("image-segmentation", "segmenter")
    assert config.batch_size < NUM
    assert config.data.load().labels == ("0", "1", "2")
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


def test_what_was_found_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segmenter(write(tmp_path))
    assert "found 10 train, 2 test samples; 3 labels: 0, 1, 2" in capsys.readouterr().err
