"""Public data sets: found in a local mirror first, downloaded otherwise, and checked by sha256 either way.

MODELYARD_DATA names the mirror, a folder with a folder a data set. Downloads are kept in the user's cache.
Knows addresses and checksums. Knows nothing of what the files hold.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pooch
from requests import RequestException

from bundle.errors import DataError
from bundle.store import sha256_of

MIRROR_VARIABLE = "MODELYARD_DATA"


@dataclass(frozen=True)
class PublicSet:
    """Where a data set comes from and what its files must be."""

    about: str
    licence: str
    base_url: str
    sha256: dict[str, str]


PUBLIC = {
    "fashion-mnist": PublicSet(
        about="70,000 grey 28x28 pictures of clothes in 10 classes",
        licence="MIT",
        base_url="https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
        sha256={
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        },
    ),
}


def fetch(name: str) -> Path:
    """The folder that holds a public data set's files, each of them checked.

    Raises:
        DataError: no such set, a file that is not what it should be, or no way to get it.
    """
    if name not in PUBLIC:
        raise DataError(f"public data set '{name}' is not known; known are {', '.join(PUBLIC)}")
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror and (Path(mirror) / name).is_dir():
        return _check(Path(mirror) / name, PUBLIC[name])
    return _download(name, PUBLIC[name])


def _check(folder: Path, public: PublicSet) -> Path:
    for file, expected in public.sha256.items():
        path = folder / file
        if not path.is_file():
            raise DataError(f"{path}: missing from the mirror that {MIRROR_VARIABLE} names")
        found = sha256_of(path)
        if found != expected:
            raise DataError(f"{path}: its sha256 is {found}, expected {expected}: another or a damaged file")
    return folder


def _download(name: str, public: PublicSet) -> Path:
    folder = pooch.os_cache("modelyard") / name
    pooch.get_logger().setLevel("WARNING")
    registry = {file: f"sha256:{digest}" for file, digest in public.sha256.items()}
    store = pooch.create(path=folder, base_url=public.base_url, registry=registry)
    for file in registry:
        try:
            store.fetch(file, progressbar=True)
        except (RequestException, OSError, ValueError) as cause:  # ValueError: the download's hash is another
            raise DataError(
                f"'{name}': {public.base_url}{file} cannot be had: {cause}. "
                f"Put the files into a folder {name}/ of your own and name its parent in {MIRROR_VARIABLE}"
            ) from None
    return folder
