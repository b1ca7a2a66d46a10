"""TensorRT's timing cache: a file of how long kernels took on this GPU, so the next build need not time them again.

Only time is lost without it, so whatever is wrong with it is told and never fails a build. Knows TensorRT's builder
configuration and files. Knows nothing of graphs.
"""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

USED = "used"


def use_timing_cache(config: Any, path: Path) -> str:
    """Give the builder the timings of a file, or an empty cache where there is none; "used", or why not."""
    try:
        content = path.read_bytes() if path.exists() else b""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            # Of another GPU or version, or damaged: begin a new one.
            taken = _take(config, content) or _take(config, b"")
    except (OSError, TypeError, RuntimeError) as cause:
        return f"not used: {cause}"
    # TensorRT-RTX keeps the calls for old callers; they do nothing.
    obsolete = next((str(one.message) for one in said if issubclass(one.category, DeprecationWarning)), "")
    if obsolete:
        return f"not used: {obsolete.removeprefix('Use ').removesuffix(' instead.')}"
    return USED if taken else f"not used: {path}: the builder takes none"


def _take(config: Any, content: bytes) -> bool:
    cache = config.create_timing_cache(content)
    return cache is not None and bool(config.set_timing_cache(cache, ignore_mismatch=False))


def write_timing_cache(config: Any, path: Path) -> str:
    """Put the timings back into the file, whole or not at all; its path, or why not."""
    cache = config.get_timing_cache()
    content = None if cache is None else cache.serialize()
    if content is None:
        return "used, not written: the builder gives none back"
    try:
        _write_whole(path, bytes(content))
    except OSError as cause:
        return f"used, not written: {path}: {cause.strerror}"
    return str(path)


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
