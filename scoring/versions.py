"""Which versions are installed of the packages that decide about bytes of an output.

Knows packages. Knows nothing of what they do.
"""

from importlib.metadata import PackageNotFoundError, version

from runtime.devices import installed_version

DECIDING = ("modelyard", "numpy", "opencv-python-headless", "pyarrow", "tokenizers")
"""Besides the engine."""


def deciding_versions(runtime: str) -> dict[str, str]:
    """Package -> version, as they are installed here."""
    return {name: _version(name) for name in DECIDING} | {runtime: installed_version(runtime) or ""}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # another package gives the same module
        return ""
