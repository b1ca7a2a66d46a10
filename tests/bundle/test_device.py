"""Devices as files and messages name them."""

import pytest
from pydantic import ValidationError

from bundle.device import DeviceInfo


@pytest.mark.parametrize(
    ("device", "slug", "told"),
    [
        (
            DeviceInfo(kind="cuda", name="NVIDIA H200", compute_capability="9.0"),
            "nvidia-h200",
            "NVIDIA H200 (compute capability 9.0)",
        ),
        (
            DeviceInfo(kind="cuda", name="NVIDIA GeForce RTX 4090 / D", compute_capability="8.9"),
            "nvidia-geforce-rtx-4090-d",
            "NVIDIA GeForce RTX 4090 / D (compute capability 8.9)",
        ),
        (
            DeviceInfo(kind="cpu", name="Intel(R) Xeon(R) CPU @ 2.20GHz", num_cpus=2),
            "intel-r-xeon-r-cpu-2-20ghz-2cpu",
            "Intel(R) Xeon(R) CPU @ 2.20GHz (2 processors)",
        ),
    ],
)
def test_a_device_has_a_name_for_files_and_one_for_people(device: DeviceInfo, slug: str, told: str) -> None:
    assert (device.slug, str(device)) == (slug, told)


@pytest.mark.parametrize("name", ["", "../../etc", "猫", "a\nb"])
def test_no_name_leads_out_of_a_folder(name: str) -> None:
    slug = DeviceInfo(kind="cuda", name=name).slug
    assert slug
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_two_cards_of_one_type_are_the_same_device() -> None:
    assert DeviceInfo(kind="cuda", name="NVIDIA L4", compute_capability="8.9") == DeviceInfo(
        kind="cuda", name="NVIDIA L4", compute_capability="8.9"
    )


def test_cpus_of_unlike_size_are_not() -> None:
    two = DeviceInfo(kind="cpu", name="Invented 9000", num_cpus=2)
    four = DeviceInfo(kind="cpu", name="Invented 9000", num_cpus=4)
    assert two != four
    assert two.slug != four.slug


def test_a_kind_that_nobody_defined_is_refused() -> None:
    with pytest.raises(ValidationError, match="kind"):
        DeviceInfo.model_validate({"kind": "tpu", "name": "v5"})
