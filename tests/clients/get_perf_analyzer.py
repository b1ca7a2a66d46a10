"""Put perf_analyzer into a folder: `python tests/clients/get_perf_analyzer.py FOLDER`.

The last wheel of tritonclient that holds the binary is 2.50; it needs CUDA's runtime library beside it, though no GPU,
and the system's libb64. Where a wheel cannot be had, it says so, and the tests that need it are skipped.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WANTED = {
    "perf_analyzer": ("tritonclient==2.50.0", "data/bin/perf_analyzer"),
    "libcudart.so.12": ("nvidia-cuda-runtime-cu12==12.9.79", "lib/libcudart.so.12"),
}
"""File -> (its package, how its path in the wheel ends)."""


def main(folder: Path) -> None:
    """Fetch what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (package, ending) in WANTED.items():
        if not (folder / name).is_file():
            fetch(folder / name, package, ending)


def fetch(target: Path, package: str, ending: str) -> None:
    """Take one file out of a wheel."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    with tempfile.TemporaryDirectory() as downloads:
        done = subprocess.run([*pip, "--dest", downloads, package], check=False)
        wheels = list(Path(downloads).glob("*.whl"))
        if done.returncode or not wheels:
            print(f"{package} cannot be had here; tests with perf_analyzer are skipped")
            return
        with zipfile.ZipFile(wheels[0]) as wheel:
            member = next(one for one in wheel.namelist() if one.endswith(ending))
            target.write_bytes(wheel.read(member))
    target.chmod(0o755)


main(Path(sys.argv[1]))
