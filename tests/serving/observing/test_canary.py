"""A version that is compared on live traffic: answers never come from it, never wait for it, never fail with it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bundle.errors import ModelNotFound, ModelNotReady, RuntimeFailed
from bundle.store import Bundle
from bundle.tensors import Tensors
from serving.batching.call import Call
from serving.observing.canary import NUM_SAMPLES
from serving.repository.model_settings import ModelSettings
from serving.repository.served import ServedModel, Serving
from tests.builders import png, write_fake_bundle
from tests.serving.repositories import POLL_S, TASK, Kept, ask, damage, kept, publish, write_settings

pytestmark = pytest.mark.anyio

Run = Callable[[Tensors], Tensors]

OTHER = ("red", "green", "blue")


@asynccontextmanager
async def trying(
    folder: Path, labels: tuple[str, ...] = OTHER, share: float = 1.0, serve: Any = ServedModel, version: str = "2"
) -> AsyncIterator[Kept]:
    """Version 1 answers, version 2 is on trial."""
    write_settings(folder, f"canary = {{version = {version}, share = {share}}}")
    publish(folder)
    publish(folder, labels)
    async with kept(folder, POLL_S, serve=serve) as here:
        yield here


def breaking(how: Run) -> Callable[[Bundle, ModelSettings, Serving], ServedModel]:
    """Serve as always, but every later batch of version 2 goes through `how` first."""

    def serve(bundle: Bundle, settings: ModelSettings, serving: Serving) -> ServedModel:
        served = ServedModel(bundle, settings, serving)
        if served.version == 2:
            served.predictor.runtime.run = _after_proof(served.predictor.runtime.run, how)  # type: ignore[method-assign]
        return served

    return serve


def _after_proof(sound: Run, how: Run) -> Run:
    def run(batch: Tensors) -> Tensors:
        proving = threading.current_thread().name.startswith(("modelyard-prove", "modelyard-start"))
        return sound(batch if proving else how(batch))

    return run


async def test_a_canary_that_differs_is_counted_and_its_reasons_are_kept(tmp_path: Path) -> None:
    async with trying(tmp_path) as here:
        for seed in range(3):
            answer = await here.models.find(TASK, None, None).ask(
                Call(request_id=f"request-{seed}"), [png(seed=seed)], first_answer(here)
            )
            assert answer.label in ("cat", "dog", "owl")
            await here.until(lambda seed=seed: here.models.canary("fake")["disagreed"] == seed + 1)
        report = here.models.canary("fake")
        assert report["model"] == "fake"
        assert (report["live"], report["canary"], report["share"]) == (1, 2, 1.0)
        assert (report["agreed"], report["failed"], report["dropped"]) == (0, 0, 0)
        assert [sample["request_id"] for sample in report["samples"]] == ["request-0", "request-1", "request-2"]
        assert all("was not among the labels" in sample["reason"] for sample in report["samples"])


async def test_a_canary_that_agrees_is_counted(tmp_path: Path) -> None:
    async with trying(tmp_path, labels=("cat", "dog", "owl")) as here:
        await ask(here.models.find(TASK, None, None))
        await here.until(lambda: here.models.canary("fake")["agreed"] == 1)
        assert here.models.canary("fake")["samples"] == []


async def test_a_canary_answers_to_its_number_alone(tmp_path: Path) -> None:
    async with trying(tmp_path) as here:
        assert here.states() == {1: "ready", 2: "ready"}
        assert here.version() == 1
        assert here.models.find(TASK, None, None).version == 1
        assert here.models.find(TASK, "fake", 2).version == 2
        assert here.models.find(TASK, "fake", 2).shadow is None


async def test_a_canary_that_fails_fails_nobody(tmp_path: Path) -> None:
    def fail(_: Tensors) -> Tensors:
        raise RuntimeFailed("it does not work")

    async with trying(tmp_path, serve=breaking(fail)) as here:
        await ask(here.models.find(TASK, None, None))
        await here.until(lambda: here.models.canary("fake")["failed"] == 1)
        (sample,) = here.models.canary("fake")["samples"]
        assert sample["reason"] == "RuntimeFailed: it does not work"
        assert here.models.not_ready_because() == ""


async def test_a_canary_that_hangs_delays_nobody_and_is_asked_one_request_at_a_time(tmp_path: Path) -> None:
    going_on = threading.Event()

    def hang(batch: Tensors) -> Tensors:
        going_on.wait()
        return batch

    async with trying(tmp_path, serve=breaking(hang)) as here:
        try:
            for _ in range(20):
                await asyncio.wait_for(ask(here.models.find(TASK, None, None)), 5)
            canary = here.models.find(TASK, "fake", 2)
            await here.until(lambda: canary.batcher.in_flight == 1)
            await here.until(lambda: here.models.canary("fake")["dropped"] == 19)
        finally:
            going_on.set()
        await here.until(lambda: here.models.canary("fake")["disagreed"] == 1)


async def test_under_load_comparisons_are_dropped_and_answers_are_not(tmp_path: Path) -> None:
    async with trying(tmp_path) as here:
        served = here.models.find(TASK, None, None)
        answers = await asyncio.gather(*(ask(served, png(seed=seed)) for seed in range(100)))
        assert len(answers) == 100
        await here.until(lambda: total(here) == 100)
        assert here.models.canary("fake")["dropped"] > 50


async def test_only_a_share_of_the_traffic_is_compared(tmp_path: Path) -> None:
    async with trying(tmp_path, share=0.2) as here:
        served = here.models.find(TASK, None, None)
        for _ in range(100):
            await ask(served)
        await here.until(lambda: served.batcher.in_flight == 0)
        await asyncio.sleep(0.05)
        assert 2 <= total(here) <= 45  # of 100 at a fifth; outside of this once in a hundred thousand runs


async def test_only_the_latest_reasons_are_kept(tmp_path: Path) -> None:
    async with trying(tmp_path) as here:
        for number in range(NUM_SAMPLES + 5):
            await ask(here.models.find(TASK, None, None))
            await here.until(lambda number=number: total(here) == number + 1)
        assert len(here.models.canary("fake")["samples"]) == NUM_SAMPLES


async def test_a_request_that_fails_is_compared_with_nothing(tmp_path: Path) -> None:
    async with trying(tmp_path) as here:
        with pytest.raises(Exception, match=r"cannot be read|no picture|not a picture|format"):
            await ask(here.models.find(TASK, None, None), b"no picture")
        await asyncio.sleep(0.05)
        assert total(here) == 0


async def test_promotion_lets_the_canary_answer_and_the_other_go(tmp_path: Path) -> None:
    async with trying(tmp_path) as here:
        assert await here.models.promote("fake") == 2
        assert (await ask(here.models.find(TASK, None, None))).label in OTHER
        assert here.models.canary("fake") == {"model": "fake", "comparing": False}
        await here.until(lambda: here.states() == {1: "unloaded", 2: "ready"})
        await here.a_few_looks()
        assert here.version() == 2
        with pytest.raises(ModelNotFound, match="has no canary to promote"):
            await here.models.promote("fake")


async def test_a_canary_may_be_older_than_what_answers(tmp_path: Path) -> None:
    async with trying(tmp_path, version="1") as here:
        assert here.version() == 2
        assert here.models.canary("fake")["canary"] == 1
        assert await here.models.promote("fake") == 1
        await here.a_few_looks()
        assert here.version() == 1


async def test_a_canary_that_is_bad_says_why_and_cannot_be_promoted(tmp_path: Path) -> None:
    write_settings(tmp_path, "canary = {version = 2}")
    publish(tmp_path)
    repair = damage(publish(tmp_path))
    async with kept(tmp_path, POLL_S) as here:
        assert here.states() == {1: "ready", 2: "refused"}
        assert here.models.canary("fake") == {"model": "fake", "comparing": False}
        with pytest.raises(ModelNotReady, match=r"cannot answer: .*sha256"):
            await here.models.promote("fake")
        repair()
        await here.until(lambda: here.models.canary("fake")["comparing"])


async def test_next_puts_every_newer_version_on_trial_and_promotion_swaps_it_in(tmp_path: Path) -> None:
    write_settings(tmp_path, 'canary = {version = "next", share = 1.0}')
    publish(tmp_path)
    async with kept(tmp_path, POLL_S) as here:
        assert here.models.canary("fake") == {"model": "fake", "comparing": False}
        publish(tmp_path)
        await here.until(lambda: here.models.canary("fake").get("canary") == 2)
        publish(tmp_path)
        await here.until(lambda: here.models.canary("fake").get("canary") == 3)
        await here.until(lambda: here.states() == {1: "ready", 2: "unloaded", 3: "ready"})
        assert here.version() == 1
        assert await here.models.promote("fake") == 3
        publish(tmp_path)
        await here.until(lambda: here.models.canary("fake").get("canary") == 4)
        assert here.version() == 3


async def test_next_is_the_answer_where_nothing_answers_yet(tmp_path: Path) -> None:
    write_settings(tmp_path, 'canary = {version = "next"}')
    publish(tmp_path)
    publish(tmp_path)
    async with kept(tmp_path, POLL_S) as here:
        assert here.version() == 2
        assert here.states() == {2: "ready"}


async def test_what_was_prepared_for_another_input_is_not_compared(tmp_path: Path) -> None:
    from bundle.preprocess import ImageResize, Prepared
    from bundle.tasks.classification import ClassificationDecode
    from tests.builders import write_fake_task_bundle

    write_settings(tmp_path, "canary = {version = 2, share = 1.0}")
    write_fake_bundle(tmp_path)
    small = ImageResize(height_px=4, width_px=4, color="rgb")
    decode = ClassificationDecode(labels=("cat", "dog", "owl"))
    write_fake_task_bundle(tmp_path, "fake", "image-classification", small, decode, [("image/png", png())])
    async with kept(tmp_path) as here:
        served = here.models.find(TASK, None, None)
        made = served.predictor.prepare(png())
        await served.ask(Call(), [Prepared(made.tensors, None)], first_answer(here))
        assert here.models.canary("fake")["dropped"] == 1
        await ask(served)
        await here.until(lambda: here.models.canary("fake")["agreed"] + here.models.canary("fake")["disagreed"] == 1)


async def test_the_canary_does_not_decide_over_readiness(tmp_path: Path) -> None:
    async with trying(tmp_path) as here:
        assert [proven.served.version for proven in here.models._answering()] == [1]


def first_answer(here: Kept) -> Any:
    predictor = here.models.find(TASK, None, None).predictor
    return lambda rows, made: predictor.decode(rows[0], made[0])


def total(here: Kept) -> int:
    report = here.models.canary("fake")
    return sum(report[outcome] for outcome in ("agreed", "disagreed", "failed", "dropped"))
