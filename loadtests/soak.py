"""`python -m loadtests.soak REPOSITORY --minutes 30 --share 0.8`: hours in small, with a new version every ten seconds.

The service runs on a copy of the repository. First its capacity is measured, then it gets that share of it at an even
rate; the models in turn are published again as their next version, which the service finds by polling, and old versions
are removed. Every answer is checked; memory is noted. Exit code 1 where an answer was wrong, refused or missing, where
versions did not change, or where memory grew. Knows the Python client, the service's process and the store.
"""

import json
import shutil
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import tyro

from bundle.store import newest, versions
from loadtests.bundles import publish_again
from loadtests.client import Client, Load, Request, drive, run
from loadtests.questions import questions
from loadtests.server import Server, ready, start_service

CAPACITY_S = 5.0
WARM_UP_SHARE = 0.2
"""Of the time: what memory grows in it is no leak."""
KEPT_VERSIONS = 3
SAMPLE_S = 1.0
SLICES = 20
RSS_GROWTH_LIMIT = 1.05
TAKE_UP_LIMIT_S = 20.0
"""From the last new version to its first answer."""
SHOWN = 5


@dataclass
class Options:
    """Load a service for a long time while its models change."""

    repository: tyro.conf.Positional[Path]
    """Folder of bundles."""
    models: tuple[str, ...] = ("tiny", "picture", "text")
    """Which of them are asked, in turn."""
    reloaded: tuple[str, ...] = ("tiny", "text")
    """Which of them get new versions, in turn."""
    minutes: float = 30.0
    share: float = 0.8
    """Of what the service answers at full load."""
    connections: int = 16
    reload_s: float = 10.0
    """Between new versions; 0 for none."""
    flags: tuple[str, ...] = ("--poll-s", "1")
    """Further flags of the service."""
    json_file: Path | None = None


@dataclass
class Seen:
    """What happened."""

    capacity_per_second: float
    rate_per_second: float
    published: int = 0
    """New versions."""
    newest: dict[str, int] = field(default_factory=dict)
    """By model, the highest version that lies in the repository."""
    answering: dict[str, int] = field(default_factory=dict)
    """By model, the highest version that answered."""
    rss_bytes: list[int] = field(default_factory=list)
    answered: int = 0
    codes: dict[int, int] = field(default_factory=dict)
    wrong: int = 0
    lost: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0

    @property
    def rss_growth(self) -> float:
        """Median memory of the last fifth of the time over that of the first fifth after warming up."""
        settled = self.rss_bytes[int(len(self.rss_bytes) * WARM_UP_SHARE) :]
        fifth = max(1, len(settled) // 5)
        return median(settled[-fifth:]) / median(settled[:fifth]) if settled else float("nan")


class Publisher:
    """Publishes the next version of one model after the other until it is told to stop."""

    def __init__(self, repository: Path, models: Sequence[str], every_s: float) -> None:
        self.count = 0
        self.stop = threading.Event()
        self._repository, self._models, self._every_s = repository, models, every_s
        self._sources = {name: newest(repository / name) for name in models}
        self._thread = threading.Thread(target=self._publish)

    def __enter__(self) -> "Publisher":
        if self._every_s and self._models:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        if self._thread.ident:
            self._thread.join()

    def _publish(self) -> None:
        while not self.stop.wait(self._every_s):
            name = self._models[self.count % len(self._models)]
            publish_again(newest(self._repository / name), self._repository, name)
            self.count += 1
            for version in versions(self._repository, name)[:-KEPT_VERSIONS]:
                shutil.rmtree(self._repository / name / str(version))


def soak(options: Options) -> int:
    """Run it, print what was seen, and say by the exit code whether it was good."""
    with tempfile.TemporaryDirectory(prefix="modelyard-soak-") as folder:
        repository = Path(folder, "models")
        shutil.copytree(options.repository, repository)
        requests = [one for name in options.models for one in questions(repository / name).golden]
        server = start_service(repository, *options.flags)
        with ready(server):
            capacity = drive(server.port, requests, options.connections, CAPACITY_S).per_second
            seen = Seen(capacity, capacity * options.share)
            with Publisher(repository, options.reloaded, options.reload_s) as publisher:
                _load(server, requests, options, seen)
            seen.published = publisher.count
            seen.newest = {name: versions(repository, name)[-1] for name in {*options.models, *options.reloaded}}
            seen.answering = _settled(server.port, seen.newest, options.reloaded)
    print(_told(seen))
    if options.json_file:
        options.json_file.write_text(
            json.dumps(asdict(seen) | {"rss_growth": seen.rss_growth}) + "\n", encoding="utf-8"
        )
    problems = faults(seen, options)
    print("".join(f"NOT GOOD: {problem}\n" for problem in problems), end="", file=sys.stderr)
    return 1 if problems else 0


def _load(server: Server, requests: Sequence[Request], options: Options, seen: Seen) -> None:
    """In slices, so that memory and progress are seen, and the client does not keep every latency for hours."""
    client = Client(server.port, requests, options.connections, seen.rate_per_second)
    asking = threading.Thread(target=run, args=(client.run(options.minutes * 60),))
    asking.start()
    start = shown = time.perf_counter()
    while asking.is_alive():
        asking.join(SAMPLE_S)
        seen.rss_bytes.append(server.rss_bytes())
        if time.perf_counter() - shown > options.minutes * 60 / SLICES:
            shown = time.perf_counter()
            print(
                f"{shown - start:6.0f} s  {_brief(client.load)}  {seen.rss_bytes[-1] / 2**20:.0f} MiB", file=sys.stderr
            )
    load = client.load
    for problem in (*load.wrong[:SHOWN], *load.lost[:SHOWN]):
        print(f"  {problem}", file=sys.stderr)
    seen.answered, seen.codes = load.answered, dict(sorted(load.codes.items()))
    seen.wrong, seen.lost = len(load.wrong), len(load.lost) + load.refused
    seen.p50_ms, seen.p99_ms = load.p50_ms, load.p99_ms


def _settled(port: int, newest_of: Mapping[str, int], reloaded: Sequence[str]) -> dict[str, int]:
    """Which versions answer, once the newest ones do or have had their time."""
    end = time.perf_counter() + TAKE_UP_LIMIT_S
    while True:
        found = _answering(port)
        if time.perf_counter() > end or all(found.get(name, 0) == newest_of[name] for name in reloaded):
            return found
        time.sleep(SAMPLE_S)


def _answering(port: int) -> dict[str, int]:
    """By model, the highest version that is ready, as the service says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=30) as answer:
        listed = json.load(answer)["models"]
    found: dict[str, int] = {}
    for model in listed:
        if model["state"] == "ready":
            found[model["name"]] = max(found.get(model["name"], 0), model["version"])
    return found


def faults(seen: Seen, options: Options) -> list[str]:
    """What must not be."""
    problems = []
    if seen.wrong or seen.lost:
        problems.append(f"{seen.wrong} wrong and {seen.lost} lost answers of {seen.answered}")
    if set(seen.codes) - {200}:
        problems.append(f"answers other than 200: {seen.codes}")
    if not seen.rss_growth <= RSS_GROWTH_LIMIT:
        problems.append(f"memory after warming up grew to {seen.rss_growth:.3f} of what it was")
    stale = [name for name in options.reloaded if seen.newest.get(name, 0) != seen.answering.get(name, 0)]
    if stale:
        problems.append(
            f"versions of {', '.join(stale)} were not taken up: there are {seen.newest}, {seen.answering} answer"
        )
    return problems


def _brief(load: Load) -> str:
    return f"{load.answered} answers {dict(load.codes)}, wrong {len(load.wrong)}, lost {len(load.lost) + load.refused}"


def _told(seen: Seen) -> str:
    return (
        f"{seen.answered} answers {seen.codes} at {seen.rate_per_second:.0f}/s of {seen.capacity_per_second:.0f}/s; "
        f"p50 {seen.p50_ms:.2f} ms, p99 {seen.p99_ms:.2f} ms\n"
        f"wrong {seen.wrong}, lost {seen.lost}; {seen.published} new versions, newest {seen.newest}, "
        f"answering {seen.answering}\n"
        f"memory: {min(seen.rss_bytes) / 2**20:.0f} to {max(seen.rss_bytes) / 2**20:.0f} MiB, at the end "
        f"{seen.rss_growth:.3f} of what it was after warming up"
    )


if __name__ == "__main__":
    sys.exit(soak(tyro.cli(Options, prog="python -m loadtests.soak")))
