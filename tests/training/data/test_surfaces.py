"""Pictures with kinds and masks, as files, arrays, painted ones, and folders of one's own."""

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="data sets belong to the training extra")

from bundle.errors import DataError  # noqa: E402
from bundle.metrics.anomaly import GOOD  # noqa: E402
from training.data.normal_folder import NormalFolder  # noqa: E402
from training.data.painted import PaintDefects, PaintedSamples  # noqa: E402
from training.data.samples import Samples  # noqa: E402
from training.data.scratches import Scratches  # noqa: E402
from training.data.surfaces import Joined, Surface, SurfaceArrays, encode_png, surface_files  # noqa: E402


def write(folder: Path, count: int, prefix: str = "", size: tuple[int, int] = (24, 32)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image = np.random.default_rng(i).integers(0, 256, size, dtype=np.uint8)
        cv2.imwrite(str(folder / f"{prefix}{i}.png"), image)
    return folder


def arrays(count: int) -> SurfaceArrays:
    images = np.random.default_rng(0).integers(60, 190, (count, 32, 40), dtype=np.uint8)
    return SurfaceArrays(images, [GOOD] * count, np.zeros((count, 32, 40), bool))


def kinds(samples: Samples) -> list[str]:
    return [samples.target(i).kind for i in range(len(samples))]


def test_a_surface_without_a_mask_has_none_anywhere() -> None:
    assert not Surface("crack").mask(3, 4).any()


def test_a_mask_is_read_from_its_png() -> None:
    mask_HW = np.eye(5, dtype=bool)
    assert np.array_equal(Surface("crack", encode_png(mask_HW.astype(np.uint8) * 255)).mask(5, 5), mask_HW)


@pytest.mark.parametrize(
    ("png", "told"), [(b"x", "is not a picture"), (encode_png(np.zeros((4, 5), np.uint8)), "5 x 4")]
)
def test_a_mask_that_does_not_fit_is_told(png: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told):
        Surface("crack", png).mask(5, 5)


def test_files_are_given_out_byte_for_byte_with_the_masks_of_their_names(tmp_path: Path) -> None:
    images, masks = write(tmp_path / "images", 2), write(tmp_path / "masks", 1)
    cv2.imwrite(str(masks / "1_mask.png"), np.zeros((24, 32), np.uint8))
    samples = surface_files(images, "crack", masks)
    assert samples.raw(1) == (images / "1.png").read_bytes()
    assert samples.target(0) == Surface("crack", (masks / "0.png").read_bytes())
    assert samples.target(1) == Surface("crack", (masks / "1_mask.png").read_bytes())
    assert (samples.media_type(0), samples.name(0)) == ("image/png", str(images / "0.png"))


def test_a_missing_mask_is_told_with_the_names_that_would_do(tmp_path: Path) -> None:
    images, masks = write(tmp_path / "images", 2), write(tmp_path / "masks", 1)
    with pytest.raises(DataError, match=r"1\.png: its mask is missing; expected .*1\.png or 1_mask\.png"):
        surface_files(images, "crack", masks)


def test_joined_samples_keep_their_order() -> None:
    parts = [arrays(2), PaintedSamples(arrays(2), 1, 0)]
    joined = Joined(parts)
    assert len(joined) == 4
    assert [joined.raw(i) for i in range(4)] == [part.raw(i) for part in parts for i in range(2)]
    assert [joined.stratum(i) for i in range(4)] == [0, 0, 1, 1]
    assert [joined.name(i) for i in (1, 2)] == ["good 1", "good 0 with a painted spot"]


def test_painted_samples_are_the_same_at_every_call_and_differ_from_one_another() -> None:
    samples = PaintedSamples(arrays(5), 2, seed=1)
    raws = [samples.raw(i) for i in range(10)]
    assert raws == [samples.raw(i) for i in range(10)]
    assert len(set(raws)) == 10
    assert kinds(samples)[:5] == [f"painted {kind}" for kind in ("spot", "crack", "chip", "rub", "shade")]
    assert kinds(samples)[5] == "painted crack", "the second copy of a picture has another kind"


def test_every_painted_sample_shows_its_defect() -> None:
    samples = PaintedSamples(arrays(30), 5, seed=3)
    assert all(samples.target(i).mask(32, 40).any() for i in range(len(samples)))


def test_painted_samples_differ_from_the_good_ones_where_the_mask_says() -> None:
    good = arrays(5)
    samples = PaintedSamples(good, 1, seed=1)
    for i in range(5):
        painted = cv2.imdecode(np.frombuffer(samples.raw(i), np.uint8), cv2.IMREAD_GRAYSCALE)
        mask_HW = samples.target(i).mask(32, 40)
        assert np.abs(painted.astype(int) - good.images[i])[mask_HW].mean() > 5


def test_a_share_of_a_batch_is_painted_and_marked() -> None:
    torch.manual_seed(0)
    batch, targets = torch.randn(40, 1, 32, 32), torch.zeros(40, 32, 32, dtype=torch.int64)
    painted, marked = PaintDefects(0.5, None)(batch, targets)
    changed = (painted != batch).flatten(1).any(1)
    assert 10 <= int(changed.sum()) <= 30
    assert torch.equal(changed | ~(marked == 1).flatten(1).any(1), torch.ones(40, dtype=torch.bool))
    assert not targets.any(), "what came in is left alone"


def test_painting_repeats_with_torchs_seed() -> None:
    batch, targets = torch.randn(8, 1, 32, 32), torch.zeros(8, 32, 32, dtype=torch.int64)
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        results.append(PaintDefects(1.0, None)(batch, targets)[0])
    assert torch.equal(*results)


def test_pictures_are_moved_before_they_are_painted() -> None:
    class Void(torch.nn.Module):
        def forward(self, batch, targets):
            return batch + 1000, torch.full_like(targets, -1)

    torch.manual_seed(0)
    painted, marked = PaintDefects(1.0, Void())(torch.randn(4, 1, 32, 32), torch.zeros(4, 32, 32, dtype=torch.int64))
    assert painted.min() > 900
    assert set(marked.unique().tolist()) == {-1, 1}


def test_a_folder_of_good_pictures_alone_is_tested_on_painted_ones(tmp_path: Path) -> None:
    splits = NormalFolder(folder=write(tmp_path / "tiles", 20)).load()
    assert (len(splits.train), kinds(splits.train)) == (12, [GOOD] * 12)
    assert all(kind.startswith("painted ") for kind in splits.labels[1:])
    assert set(kinds(splits.test)) == set(splits.labels)
    assert splits.validation is not None
    names = [{split.name(i) for i in range(len(split))} for split in (splits.train, splits.validation, splits.test)]
    assert not names[0] & names[1] | names[0] & names[2] | names[1] & names[2], "no picture is in two splits"


def test_defective_pictures_are_tested_where_they_are(tmp_path: Path) -> None:
    write(tmp_path / "train" / "good", 20)
    write(tmp_path / "test" / "good", 3, "g")
    write(tmp_path / "test" / "crack", 2, "c")
    write(tmp_path / "test" / "hole", 2, "h")
    for i in range(2):
        (tmp_path / "ground_truth" / "crack").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "ground_truth" / "crack" / f"c{i}_mask.png"), np.full((24, 32), 255, np.uint8))
    splits = NormalFolder(folder=tmp_path).load()
    assert splits.labels == (GOOD, "crack", "hole")
    assert kinds(splits.test) == [GOOD] * 3 + ["crack"] * 2 + ["hole"] * 2
    assert splits.test.target(3).mask(24, 32).all()
    assert splits.test.target(5).mask_png == b""
    assert len(splits.train) == 16


def test_what_is_wrong_with_a_folder_is_told(tmp_path: Path) -> None:
    def refusal(folder: Path) -> str:
        with pytest.raises(DataError) as caught:
            NormalFolder(folder=folder).load()
        return str(caught.value)

    assert "no such folder" in refusal(tmp_path / "none")
    assert "holds no pictures" in refusal(tmp_path)
    assert "9 pictures; at least 10" in refusal(write(tmp_path / "few", 9))
    write(tmp_path / "odd", 12)
    write(tmp_path / "odd" / "test" / "good", 1)
    assert "no folder of defective pictures" in refusal(tmp_path / "odd")
    write(tmp_path / "worse", 12)
    write(tmp_path / "worse" / "test" / "crack", 1)
    assert "no folder 'good'" in refusal(tmp_path / "worse")


def test_generated_metal_has_defects_in_test_alone() -> None:
    splits = Scratches(side_px=32).load()
    assert set(kinds(splits.train)) == {GOOD}
    assert splits.labels == (GOOD, "dent", "scratch")
    marked = [bool(splits.test.target(i).mask_png) for i in range(len(splits.test))]
    assert marked == [kind != GOOD for kind in kinds(splits.test)]
    assert splits.sha256() == Scratches(side_px=32).load().sha256()
