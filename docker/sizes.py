"""`python docker/sizes.py [--write]`: how large the images' wheels are, as pip resolves them, without fetching them.

Downloads are what the index says (Content-Length); unpacked sizes are read from each wheel's own table of contents, by
ranged requests. What cannot be resolved is said, never guessed. Run it with the base image's version of Python, on
Linux x86_64, with an index of packages in reach.

Knows pip, wheels and the index. Knows nothing of Docker: the base image's own size comes on top.
"""

import io
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/operations/images.md"
BEGIN, END = "<!-- sizes: made by docker/sizes.py --write -->", "<!-- /sizes -->"
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
NUM_LARGEST = 4
THREADS = 8
AT_ONCE_BYTES = 1 << 20
"""Of a range: a table of contents of most wheels."""
PATIENCE_S = 20
MB = 1e6


@dataclass(frozen=True)
class Image:
    """What a Dockerfile installs."""

    name: str
    extras: str
    index: str | None = None
    """One more index of packages."""


IMAGES = (
    Image("serving-cpu", "serving,fetch"),
    Image("serving-gpu", "tensorrt,tune,fetch"),
    Image("training", "huggingface,gpu,tune"),
    Image("scoring", "serving,scoring"),
    Image("training, CPU only", "huggingface,serving,tune", CPU_TORCH),
)


@dataclass(frozen=True)
class Wheel:
    """One file of the index."""

    name: str
    download_bytes: int
    unpacked_bytes: int


class Remote(io.RawIOBase):
    """A file behind a URL, read in the ranges that are asked for."""

    def __init__(self, url: str) -> None:
        self._url = url
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as answer:  # noqa: S310 - pip gave it
            self.size = int(answer.headers["Content-Length"])
        self._place = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go there."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Ask for so much."""
        last = min(self._place + len(buffer), self.size) - 1
        if last < self._place:
            return 0
        asked = urllib.request.Request(self._url, headers={"Range": f"bytes={self._place}-{last}"})  # noqa: S310
        with urllib.request.urlopen(asked) as answer:  # noqa: S310 - pip gave it
            content = answer.read()
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)


@cache
def wheel(name: str, url: str) -> Wheel:
    """The sizes of one wheel; Python files count twice, since pip compiles them."""
    remote = Remote(url)
    with zipfile.ZipFile(io.BufferedReader(remote, AT_ONCE_BYTES)) as contents:
        unpacked = sum(one.file_size * (2 if one.filename.endswith(".py") else 1) for one in contents.infolist())
    return Wheel(name, remote.size, unpacked)


def resolve(requirements: list[str], index: str | None) -> list[tuple[str, str]]:
    """Names and addresses of what pip would install.

    Raises:
        RuntimeError: pip cannot; what it said last is in the message.
    """
    if index and not _in_reach(index):
        raise RuntimeError(f"{index} was out of reach where this was run")
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"),
        *("--constraint", str(ROOT / "constraints.txt"), *(("--extra-index-url", index) if index else ())),
    ]
    # The public index, whatever this machine is set up to use beside it: the figures are for everybody.
    environment = {name: value for name, value in os.environ.items() if name not in ("PIP_FIND_LINKS",)}
    environment |= {"PIP_CONFIG_FILE": os.devnull}
    environment.pop("PIP_EXTRA_INDEX_URL", None)
    done = subprocess.run([*command, *requirements], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(_said(done.stderr))
    found = json.loads(done.stdout)["install"]
    pairs = ((one["metadata"]["name"], one["download_info"]["url"]) for one in found)
    return [(name, url) for name, url in pairs if url.startswith("http")]


def _in_reach(index: str) -> bool:
    """pip itself goes on without an index that does not answer, and would take torch with CUDA."""
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=PATIENCE_S):  # noqa: S310 - ours, above
            return True
    except OSError:
        return False


def _said(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines()]
    told = [line for line in lines if re.search(r"failed\.$|No matching distribution|ResolutionImpossible", line)]
    return (told or [line for line in lines if line] or ["pip said nothing"])[0]


def row(image: Image) -> str:
    """One line of the table; what cannot be resolved is left out of the sums and named."""
    lacking = ""
    print(f"resolving {image.extras}", file=sys.stderr, flush=True)
    try:
        found = resolve([f"{ROOT}[{image.extras}]"], image.index)
    except RuntimeError as cause:
        if image.index:
            return f"| `{image.name}` | `{image.extras}` | - | - | - | - | **not resolved**: {cause} |"
        rest = [one for one in requirements(image.extras) if not one.startswith("tensorrt-cu13")]
        found = resolve([str(ROOT), *rest], None)
        lacking = f"**without TensorRT's libraries**, which could not be resolved where this was run: {cause}"
    print(f"asking for the sizes of {len(found)} wheels", file=sys.stderr, flush=True)
    with ThreadPoolExecutor(THREADS) as pool:
        wheels = sorted(pool.map(lambda pair: wheel(*pair), found), key=lambda one: -one.download_bytes)
    largest = ", ".join(f"{one.name} {one.download_bytes / MB:.0f}" for one in wheels[:NUM_LARGEST])
    download, unpacked = (
        sum(sizes) / MB for sizes in zip(*((w.download_bytes, w.unpacked_bytes) for w in wheels), strict=True)
    )
    cells = (f"`{image.name}`", f"`{image.extras}`", str(len(wheels)), f"{download:.0f}", f"{unpacked:.0f}", largest)
    return f"| {' | '.join(cells)} | {lacking or '-'} |"


def requirements(extras: str) -> list[str]:
    """What extras ask for, with those of the extras that they are made of."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    found = []
    for requirement in (one for extra in extras.split(",") for one in table[extra]):
        own = re.fullmatch(r"modelyard\[(.+)\]", requirement)
        found += requirements(own[1]) if own else [requirement]
    return found


def section() -> str:
    """The table."""
    lines = [
        "| image | extras | wheels | download, MB | unpacked, MB | the largest, MB | what is lacking |",
        "|---|---|---|---|---|---|---|",
        *map(row, IMAGES),
        "",
        f"Resolved by pip for Python {platform.python_version()} on Linux {platform.machine()} with `constraints.txt`; "
        "unpacked: every file of the wheels, Python files twice because pip compiles them. MB are 10^6 bytes. The base "
        "image's own size comes on top; layers are pushed and pulled compressed, at about the size of the download.",
    ]
    return "\n".join(lines)


def written(page: str, table: str) -> str:
    """A page with its table replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def main() -> int:
    """Print the table, and with --write put it into the page."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        print(f"the images are for Linux x86_64, and pip resolves for {platform.platform()} here", file=sys.stderr)
        return 1
    table = section()
    print(table)
    if "--write" in sys.argv:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
