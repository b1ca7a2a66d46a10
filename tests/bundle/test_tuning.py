"""A tuning is believed for one bundle, one device and the engines it was measured with, and for nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from bundle.device import DeviceInfo
from bundle.engines import read_records
from bundle.errors import BundleError
from bundle.store import Bundle, open_bundle
from bundle.tuning import Point, Tuning, best_point, read_tuning, tuning_path, write_tuning
from tests.builders import write_fake_bundle
from tests.tunings import damage_tuning, point, tune_as, tuning_of

CPU = DeviceInfo(kind="cpu", name="Invented 9000", num_cpus=2)
GPU = DeviceInfo(kind="cuda", name="NVIDIA Q100", compute_capability="9.0")
installed: Callable[[str], str | None] = {"fake": "", "onnxruntime": "1.31.1"}.get


def read(bundle: Bundle, device: DeviceInfo = CPU, cache: Path | None = None) -> Tuning | None:
    return read_tuning(bundle, device, installed, cache)


# The choice


def test_chosen_is_the_highest_throughput_within_the_limit() -> None:
    small, larger, over = point(1, 5), point(8, 20), point(32, 60)
    assert best_point([small, larger, over], 50) == larger
    assert best_point([small, larger, over], 39.9) == small
    assert best_point([small, larger, over], 120) == over


def test_a_point_at_the_limit_holds_it() -> None:
    assert point(8, 25).holds(50)
    assert not point(8, 25.01).holds(50)


def rated(batch_size: int, rows_per_s: float, instances: int = 1, threads: int = 1) -> Point:
    return point(batch_size, 10, instances, threads, rows_per_s=rows_per_s)


def test_of_those_that_tie_the_smaller_batch_is_chosen_then_fewer_instances_then_fewer_processors() -> None:
    assert best_point([rated(8, 1000), rated(4, 971)], 50).batch_size == 4
    assert best_point([rated(4, 1000, 2), rated(4, 975, 1)], 50).instances == 1
    assert best_point([rated(4, 1000, 1, 2), rated(4, 975, 1, 1)], 50).threads == 1
    assert best_point([rated(8, 980, 1), rated(4, 1000, 4)], 50).batch_size == 4


def test_three_percent_is_a_tie_and_more_is_none() -> None:
    assert best_point([rated(8, 1000), rated(4, 970)], 50).batch_size == 4
    assert best_point([rated(8, 1000), rated(4, 969)], 50).batch_size == 8


def test_of_equal_settings_the_faster_artefact_is_chosen() -> None:
    fp16 = rated(4, 990).model_copy(update={"artefact": "fp16"})
    assert best_point([rated(4, 980), fp16, rated(4, 985)], 50) == fp16


def test_what_does_not_hold_the_limit_ties_with_nothing() -> None:
    over = point(2, 30, rows_per_s=1020)
    assert best_point([rated(4, 1000), over], 50).batch_size == 4


def test_where_none_holds_the_limit_the_lowest_p99_is_chosen() -> None:
    slow, slower = point(1, 100, rows_per_s=1), point(8, 104, rows_per_s=5000)
    assert best_point([slower, slow], 50) == slow
    assert best_point([slower, slow, point(2, 103, rows_per_s=2)], 50).rows_per_s == 2


# The document


def test_a_chosen_point_that_was_not_measured_is_refused(fake_bundle: Bundle) -> None:
    with pytest.raises(ValidationError, match="not one of those measured"):
        tuning_of(fake_bundle, point(4), chosen=point(8))


def test_an_engine_without_a_version_is_refused(fake_bundle: Bundle) -> None:
    with pytest.raises(ValidationError, match="no version is given for fake"):
        tuning_of(fake_bundle, runtimes={})


def test_whether_the_limit_is_held_is_computed(fake_bundle: Bundle) -> None:
    assert tuning_of(fake_bundle, point(4, 10), p99_ms=20).holds
    assert not tuning_of(fake_bundle, point(4, 10), p99_ms=19.9).holds


# On disk


def test_what_was_written_is_read(fake_bundle: Bundle) -> None:
    path = tune_as(fake_bundle, point(1), point(4), device=CPU)
    assert path == fake_bundle.folder / "engines" / "invented-9000-2cpu.tune.json"
    tuning = read(fake_bundle)
    assert tuning is not None
    assert tuning.points == (point(1), point(4))
    assert tuning.chosen == point(4)


def test_a_node_may_keep_it_outside_of_the_bundle(fake_bundle: Bundle, tmp_path: Path) -> None:
    path = tune_as(fake_bundle, device=GPU, cache=tmp_path / "cache")
    assert path.is_relative_to(tmp_path / "cache" / "fake")
    assert path.name == "nvidia-q100.tune.json"
    assert read(fake_bundle, GPU) is None
    assert read(fake_bundle, GPU, tmp_path / "cache") is not None


def test_where_nobody_has_tuned_there_is_none(fake_bundle: Bundle) -> None:
    assert read(fake_bundle) is None
    tune_as(fake_bundle, device=GPU)
    assert read(fake_bundle) is None


def test_it_is_no_record_of_an_engine_and_the_bundle_stays_as_it_was(fake_bundle: Bundle) -> None:
    tune_as(fake_bundle, device=CPU)
    assert read_records(fake_bundle) == ([], [])
    assert open_bundle(fake_bundle.folder).manifest.digest == fake_bundle.manifest.digest


def test_a_second_tuning_replaces_the_first(fake_bundle: Bundle) -> None:
    path = tune_as(fake_bundle, point(1), device=CPU)
    tune_as(fake_bundle, point(2), device=CPU)
    tuning = read(fake_bundle)
    assert tuning is not None
    assert tuning.chosen.batch_size == 2
    assert list(path.parent.iterdir()) == [path]


def test_one_that_was_changed_is_refused(fake_bundle: Bundle) -> None:
    tune_as(fake_bundle, device=CPU)
    path = damage_tuning(fake_bundle, CPU)
    with pytest.raises(BundleError, match=r"does not match its digest; run `modelyard tune` again") as refused:
        read(fake_bundle)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"schema_version": 2}', b"null"])
def test_one_that_is_no_tuning_is_refused(fake_bundle: Bundle, content: bytes) -> None:
    path = tuning_path(fake_bundle, CPU)
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"invented-9000-2cpu\.tune\.json: "):
        read(fake_bundle)


def test_a_folder_in_its_place_is_refused(fake_bundle: Bundle) -> None:
    tuning_path(fake_bundle, CPU).mkdir(parents=True)
    with pytest.raises(BundleError, match="cannot be read"):
        read(fake_bundle)


def test_one_of_another_bundle_is_refused(fake_bundle: Bundle, tmp_path: Path) -> None:
    other = open_bundle(write_fake_bundle(tmp_path / "others", labels=("a", "b")))
    tune_as(other, device=CPU)
    tuning_path(fake_bundle, CPU).parent.mkdir()
    tuning_path(other, CPU).rename(tuning_path(fake_bundle, CPU))
    with pytest.raises(BundleError, match=f"made for another bundle .digest {other.manifest.digest[:12]}"):
        read(fake_bundle)


def test_one_of_another_device_is_refused(fake_bundle: Bundle) -> None:
    tune_as(fake_bundle, device=GPU)
    like = GPU.model_copy(update={"compute_capability": "10.0"})
    with pytest.raises(BundleError, match=r"measured on NVIDIA Q100 .*9\.0.*, this is NVIDIA Q100 .*10\.0"):
        read(fake_bundle, like)


@pytest.mark.parametrize(
    ("runtime", "version", "told"),
    [
        ("onnxruntime", "1.30.0", "measured with onnxruntime 1.30.0, which is 1.31.1 here"),
        ("tensorrt", "11.4.0", "measured with tensorrt 11.4.0, which is not installed here"),
    ],
)
def test_one_of_another_version_of_an_engine_is_refused(
    fake_bundle: Bundle, runtime: str, version: str, told: str
) -> None:
    tune_as(fake_bundle, point(runtime=runtime), device=CPU, runtimes={runtime: version})
    with pytest.raises(BundleError, match=told):
        read(fake_bundle)


def test_a_folder_that_cannot_be_written_to_is_told(fake_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(BundleError, match="cannot be written"):
        write_tuning(fake_bundle, tuning_of(fake_bundle), tmp_path / "cache")
