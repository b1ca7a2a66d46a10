"""Listings: the same order always, hidden files never, patterns as people know them."""

from pathlib import Path

import pytest

from bundle.errors import DataError
from scoring.listing import listing, matches
from scoring.store import place

TREE = ("a.png", "b.txt", "deep/c.png", "deep/er/d.png", "_DSC1.png", ".hidden.png", ".git/e.png", "_aside/f.png",
        "odd [1]/g.png")  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / ".cache/_data"  # what lies above the place that was given hides nothing
    for name in TREE:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def names(folder: Path, pattern: str = "") -> list[str]:
    found = listing(place(str(folder / pattern)))
    return [file.path.removeprefix(f"{folder}/") for file in found]


def test_a_folder_is_all_below_it_but_hidden_files(folder: Path) -> None:
    shown = sorted(name for name in TREE if not name.startswith("."))
    assert names(folder) == shown
    aside = {file.path.removeprefix(f"{folder}/") for file in listing(place(str(folder))) if file.is_aside}
    assert aside == {"_DSC1.png", "_aside/f.png"}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["_DSC1.png", "a.png"]),
        ("**/*.png", sorted(n for n in TREE if n.endswith(".png") and not n.startswith("."))),
        ("deep/**", ["deep/c.png", "deep/er/d.png"]),
        ("deep/?.png", ["deep/c.png"]),
        ("[ab].*", ["a.png", "b.txt"]),
        ("[!a].*", ["b.txt"]),
        ("odd [1]", ["odd [1]/g.png"]),
        ("a.png", ["a.png"]),
    ],
)
def test_patterns(folder: Path, pattern: str, expected: list[str]) -> None:
    assert names(folder, pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [("*.bmp", "no file"), ("nowhere", "no such file or folder"), ("nowhere/*", "No such file"), ("[z-a]*", "range")],
)
def test_nothing_is_an_error_that_names_the_place(folder: Path, pattern: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        names(folder, pattern)
    assert str(folder / pattern.partition("/")[0]) in str(caught.value)


def test_links_are_followed_but_never_in_a_circle(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/h.png").write_bytes(b"x")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "deep/circle").symlink_to(folder)
    (folder / "dangling.png").symlink_to(folder / "nowhere")
    found = names(folder)
    assert "link/h.png" in found
    assert "dangling.png" in found
    assert not [name for name in found if "circle" in name]


def test_what_an_output_would_write_is_found_among_the_inputs(folder: Path) -> None:
    for given, path, expected in (
        (folder, folder / "out/part", True),
        (folder, folder, True),
        (folder, f"{folder}-out/part", False),
        (folder / "*.parquet", folder / "part.parquet", True),
        (folder / "*.parquet", folder / "out/part.parquet", False),
        (folder / "**", folder / "out/part.parquet", True),
    ):
        assert matches(place(str(given)), str(path)) is expected, given
