"""A device whose memory is short, over real HTTP: what fits is answered, the rest is refused, the process lives."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.security.keys import make_key
from tests.builders import png, write_fake_bundle
from tests.serving.figures import samples_of
from tests.serving.running import Server, running
from tests.serving.scarce import CAPACITY_FILE
from tests.serving.wire import error_of, files, predictions_of

LARGEST = 16


class Scarce:
    """The server and its device's memory."""

    def __init__(self, server: Server, capacity: Path) -> None:
        self.server = server
        self._capacity = capacity

    def holds(self, rows: int) -> None:
        """Change how many rows of a batch fit."""
        self._capacity.write_text(str(rows), encoding="ascii")

    def ask(self, rows: int, model: str = "fake") -> httpx.Response:
        """A request with so many pictures, which wait together."""
        pictures = files([png(seed=seed) for seed in range(rows)])
        return self.server.client.post("/v1/classify", params={"model": model}, files=pictures)

    def num_short(self) -> float:
        """How many batches did not fit, as the figures say."""
        figures = samples_of(self.server.client.get("/metrics").text)
        return figures["modelyard_out_of_memory_total"]["fake",]

    def model(self) -> dict[str, Any]:
        """What the listing says."""
        listed = self.server.client.get("/v1/models").json()["models"]
        return dict(next(one for one in listed if one["name"] == "fake"))


HERE = pytest.mark.parametrize("flags", [("--here-ms=0", "--threads=1"), ()], ids=["on lanes", "here"])


@contextmanager
def scarce(folder: Path, *flags: str) -> Iterator[Scarce]:
    capacity = folder / "capacity"
    capacity.write_text(str(LARGEST), encoding="ascii")
    for name in ("fake", "other"):
        write_fake_bundle(folder / "models", name, max_batch_size=LARGEST)
    with running(
        folder / "models",
        folder,
        "--golden-every-s=0",
        *flags,
        environment={CAPACITY_FILE: str(capacity)},
        module="tests.serving.scarce",
    ) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield Scarce(server, capacity)


@HERE
def test_what_fits_in_halves_is_answered_as_ever(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with scarce(tmp_path, *flags) as device:
        expected = predictions_of(device.ask(LARGEST))
        device.holds(LARGEST // 2)
        assert predictions_of(device.ask(LARGEST)) == expected
        assert device.num_short() == 1
        assert predictions_of(device.ask(LARGEST)) == expected
        assert device.num_short() == 1, "batches are smaller now"
        model = device.model()
        assert (model["state"], model["largest_batch"], model["max_batch_size"]) == ("ready", 8, LARGEST)
        assert "at most 8 rows in place of 16" in model["reason"]
        assert "did not hold a batch of 16 rows; the largest batch is now 8" in device.server.stderr()


@HERE
def test_what_does_not_fit_is_refused_and_the_process_goes_on(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with scarce(tmp_path, *flags) as device:
        expected = predictions_of(device.ask(LARGEST))
        device.holds(2)
        refused = device.ask(LARGEST)
        assert "the memory of the device is short: it does not hold a batch of 8 rows" in (
            error_of(refused, 503, "overloaded")
        )
        assert int(refused.headers["retry-after"]) >= 1
        assert len(predictions_of(device.ask(2))) == 2
        assert len(predictions_of(device.ask(3, "other"))) == 3, "a half of three fits"
        while (answer := device.ask(LARGEST)).status_code == 503:
            assert device.model()["largest_batch"] >= 2
        assert predictions_of(answer) == expected, "in batches of two"
        assert device.model()["largest_batch"] == 2
        assert device.server.client.get("/v2/health/live").status_code == 200


@HERE
def test_where_nothing_fits_all_are_refused_until_something_does(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with scarce(tmp_path, *flags) as device:
        device.holds(0)
        for _ in range(3):
            error_of(device.ask(1), 503, "overloaded")
        assert device.num_short() == 3
        assert device.model()["largest_batch"] == 1
        device.holds(LARGEST)
        assert len(predictions_of(device.ask(LARGEST))) == LARGEST


@HERE
def test_clients_side_by_side_are_answered_or_refused_each_by_themselves(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    with scarce(tmp_path, *flags) as device:
        expected = {rows: predictions_of(device.ask(rows)) for rows in (1, 3)}
        device.holds(3)
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(device.ask, [1, 3] * 40))
        assert {answer.status_code for answer in answers} <= {200, 503}
        for answer, rows in zip(answers, [1, 3] * 40, strict=True):
            if answer.status_code == 200:
                assert predictions_of(answer) == expected[rows]
        assert [device.ask(rows).status_code for rows in (1, 3)] == [200, 200]


def test_a_model_that_is_loaded_again_tries_large_batches_again(tmp_path: Path) -> None:
    key, line = make_key("boss")
    with scarce(tmp_path, f"--admin-keys={line}") as device:
        device.holds(4)
        device.ask(LARGEST)
        assert device.model()["largest_batch"] < LARGEST
        device.holds(LARGEST)
        headers = {"Authorization": f"Bearer {key}"}
        assert device.server.client.post("/v2/repository/models/fake/load", headers=headers).status_code == 200
        assert device.model()["largest_batch"] == LARGEST
        assert "reason" not in device.model()
