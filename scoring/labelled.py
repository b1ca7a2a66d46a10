"""Labelled inputs: which form lies at a place, and its rows, each with a way to its truth.

Forms: folders named after labels; tables with a column of labels; images/ beside masks/; COCO's JSON; good/ beside
folders of defects. Knows places, tables and truths. Knows nothing of scores or metrics.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from pyarrow import fs

from bundle.errors import BadInput, DataError
from bundle.manifest import Manifest
from bundle.masks import read_class_names
from bundle.metrics import METRICS
from bundle.preprocess import Limits
from scoring.cells import read_file, reader_of
from scoring.coco import annotations_in, read_coco
from scoring.listing import File, listing
from scoring.source import ENDINGS, Columns, Row, open_source
from scoring.store import Place
from scoring.tables import Table, format_of
from scoring.truths import (
    LabelIndex,
    NoTruth,
    Read,
    ToTruth,
    boxes_truth,
    class_of_id,
    listed_truth,
    marked_truth,
    mask_truth,
    series_truth,
)

USUAL_TARGETS = {
    "image-classification": ("label", "labels", "class", "category", "target", "y"),
    "text-classification": ("label", "labels", "class", "category", "sentiment", "target", "y"),
    "image-segmentation": ("mask", "mask_path", "label", "target"),
    "object-detection": ("boxes", "detections", "objects", "annotations"),
    "anomaly-detection": ("kind", "label", "class", "is_anomalous", "anomalous", "target", "y"),
    "series-anomaly-detection": ("kind", "label", "class", "is_anomalous", "anomalous", "target", "y"),
}
"""Columns that are tried in turn where none is named."""
FORMS = {
    "image-classification": "FOLDER/<label>/<picture>, or a table with a column of labels",
    "text-classification": "a table with a column of texts and one of labels",
    "image-segmentation": "FOLDER/images and FOLDER/masks, or a table with columns of pictures and of masks",
    "object-detection": "COCO's JSON with its pictures, or a table with columns of pictures and of boxes",
    "anomaly-detection": "FOLDER/good and FOLDER/<defect>, or a table with a column of kinds",
    "series-anomaly-detection": "a table with a column of series and one of labels",
}
"""What is read, by task."""
MASK_ENDINGS = (".png", "_mask.png")  # the second is MVTec's way


@dataclass(frozen=True)
class Labelled:
    """One row and its truth, which is read together with it."""

    row: Row
    truth: ToTruth


@dataclass(frozen=True)
class LabelledInput:
    """All rows, in an order that never changes."""

    about: str
    num_rows: int | None
    rows: Callable[[], Iterator[Labelled]]


def open_labelled(
    where: Place,
    manifest: Manifest,
    columns: Columns,
    targets: Sequence[str] = (),
) -> LabelledInput:
    """Find out what lies at a place, and where its truths are.

    Raises:
        BadInput: the task has no metric. DataError: nothing there is in a form that is read.
    """
    task = manifest.task
    if task not in METRICS:
        raise BadInput(
            f"{manifest.name} is a model for {task}, whose answers no label can be held to; `modelyard compare` shows "
            f"where two models differ. Evaluated are {', '.join(METRICS)}"
        )
    targets = targets or _usual_targets(where, task, columns)
    if targets:
        return _of_table(where, manifest, columns, targets)
    if task == "object-detection":
        return _of_coco(where, manifest)
    if task == "image-segmentation":
        return _of_pairs(where, manifest)
    if manifest.preprocess.kind == "image-resize":
        return _of_folders(where, manifest)
    raise DataError(f"{where}: which column holds the labels? Name it with --target; read is {FORMS[task]}")


def _usual_targets(where: Place, task: str, columns: Columns) -> Sequence[str]:
    """The column that surely holds the truths; none where no table is there."""
    found = listing(where)
    tables = [file for file in found if format_of(file.path) and not file.is_aside]
    only_tables = len(tables) == len(found)
    if not tables or not (only_tables or columns.inputs):
        return ()
    head = Table(where, tables[0]).head()
    usual = [name for name in USUAL_TARGETS[task] if name in head.columns and name not in columns.inputs]
    if not usual:
        names = ", ".join(f"'{name}'" for name in list(head.columns)[:12])
        raise DataError(f"{where.url(tables[0].path)}: which column holds the truths? It has {names}; name it with "
                        f"--target. Read is {FORMS[task]}")  # fmt: skip
    return usual[:1]


def _of_table(where: Place, manifest: Manifest, columns: Columns, targets: Sequence[str]) -> LabelledInput:
    most = 2 if manifest.task == "anomaly-detection" else 1
    if len(targets) > most:
        second = " and one of masks" if most == 2 else ""
        raise BadInput(f"--target names {len(targets)} columns; {manifest.task} takes one{second}")
    keep = {name: f"target {i}" for i, name in enumerate(targets)}
    source = open_source(where, manifest.preprocess.kind, Columns(columns.inputs, keep))
    to_truth = _from_cells(where, manifest)

    def rows() -> Iterator[Labelled]:
        for i in range(len(source.files)):
            for row in source.rows(i, 0):
                yield Labelled(row, to_truth(row))

    return LabelledInput(f"{where}: {source.about}; truths in {', '.join(targets)}", source.num_rows, rows)


def _from_cells(where: Place, manifest: Manifest) -> Callable[[Row], ToTruth]:
    """A row's target cells -> its truth."""
    picture = reader_of("image-resize", where)

    def read(row: Row, cell: Any) -> Read:
        return picture(cell, row.source.partition("://")[2] or row.source)

    match manifest.task:
        case "image-segmentation":
            classes, names = class_of_id(labels_of(manifest), _names_beside(where))
            return lambda row: lambda _: mask_truth(read(row, row.kept[0]), classes, names, f"its mask {row.kept[0]}")
        case "object-detection":
            return lambda row: partial(listed_truth, row.kept[0], labels_of(manifest))
        case "anomaly-detection":
            return lambda row: partial(
                marked_truth, row.kept[0], read(row, row.kept[1]) if len(row.kept) > 1 and row.kept[1] else None
            )
        case "series-anomaly-detection":
            return lambda row: lambda _: series_truth(row.kept[0])
    index = LabelIndex(labels_of(manifest))
    return lambda row: lambda _: index(row.kept[0])


def _of_folders(where: Place, manifest: Manifest) -> LabelledInput:
    """The folder that a picture lies in is its label."""
    known = labels_of(manifest)
    root = where if "test" in known else _test_part(where)
    is_anomaly = manifest.task == "anomaly-detection"
    if is_anomaly and _is_folder(root.below("images")):
        root = root.below("images")
    found = [file for file in listing(root) if _is_picture(file.path)]
    if not found or all("/" not in _below(root, file) for file in found):
        raise DataError(f"{root}: no folder with pictures; read is {FORMS[manifest.task]}")
    masks = _defect_masks(where, root) if is_anomaly else {}
    outside = [file for file in found if not is_anomaly or "masks" not in _below(root, file).split("/")[:-1]]
    index = LabelIndex(known)

    def rows() -> Iterator[Labelled]:
        for row, file in zip(_file_rows(root, outside), outside, strict=True):
            folder = file.path.split("/")[-2] if "/" in _below(root, file) else ""
            if is_anomaly:
                mask = masks.get((folder, file.path.rpartition("/")[2].rpartition(".")[0]))
                yield Labelled(row, partial(marked_truth, folder, _reader(root, mask) if mask else None))
            else:
                yield Labelled(row, partial(_ignoring_raw, index, folder))

    return LabelledInput(f"{len(outside)} pictures in folders below {root}", len(outside), rows)


def _ignoring_raw(index: LabelIndex, folder: str, _: bytes) -> Any:
    return index(folder)


def _defect_masks(where: Place, root: Place) -> dict[tuple[str, str], str]:
    """Masks of defects, as MVTec has them: by (kind, name of the picture)."""
    masks: dict[tuple[str, str], str] = {}
    beside = Place(where.files, where.path.rpartition("/")[0], where.scheme)
    for folder in (
        where.below("ground_truth"),
        beside.below("ground_truth"),
        root.below("masks"),
        where.below("test/masks"),
    ):
        if _is_folder(folder):
            for file in listing(folder):
                kind, name = file.path.split("/")[-2:]
                for ending in reversed(MASK_ENDINGS):
                    if name.endswith(ending):
                        masks.setdefault((kind, name.removesuffix(ending)), file.path)
                        break
    return masks


def _of_pairs(where: Place, manifest: Manifest) -> LabelledInput:
    """images/NAME.* beside masks/NAME.png."""
    root = where if _is_folder(where.below("images")) else _test_part(where)
    if not (_is_folder(root.below("images")) and _is_folder(root.below("masks"))):
        raise DataError(f"{where}: no folders images and masks; read is {FORMS[manifest.task]}")
    found = [file for file in listing(root.below("images")) if _is_picture(file.path)]
    masks = {_stem(file.path): file.path for file in listing(root.below("masks")) if _is_picture(file.path)}
    classes, names = class_of_id(labels_of(manifest), _names_beside(where) or _names_beside(root))

    def rows() -> Iterator[Labelled]:
        for row, file in zip(_file_rows(root, found), found, strict=True):
            yield Labelled(row, partial(_pair, masks.get(_stem(file.path))))

    def _pair(mask: str | None, _: bytes) -> Any:
        if mask is None:
            return NoTruth("no label")
        return mask_truth(_reader(root, mask), classes, names, root.url(mask))

    return LabelledInput(f"{len(found)} pictures in {root.below('images')}", len(found), rows)


def _of_coco(where: Place, manifest: Manifest) -> LabelledInput:
    file = annotations_in(where)
    if file is None:
        raise DataError(f"{where}: no JSON file of annotations; read is {FORMS[manifest.task]}")
    pictures = read_coco(where, file)
    labels = labels_of(manifest)

    def rows() -> Iterator[Labelled]:
        for number, one in enumerate(pictures):
            raw = partial(read_file, where, one.path, Limits().max_bytes)
            yield Labelled(Row(where.url(one.path), number, raw), partial(boxes_truth, one.boxes, labels))

    return LabelledInput(f"{len(pictures)} pictures of {where.url(file.path)}", len(pictures), rows)


def labels_of(manifest: Manifest) -> tuple[str, ...]:
    """The labels of a bundle; none where its task has none."""
    labels: tuple[str, ...] = getattr(manifest.decode, "labels", ())
    return labels


def _test_part(where: Place) -> Place:
    """The folder's test part, where it has one: nobody wants figures of what was learned from."""
    return where.below("test") if _is_folder(where.below("test")) else where


def _names_beside(where: Place) -> dict[int, str] | None:
    """classes.csv of a folder, or of the folder that a table lies in."""
    folder = where if _is_folder(where) else Place(where.files, where.path.rpartition("/")[0], where.scheme)
    path = folder.below("classes.csv")
    if path.info().type != fs.FileType.File:
        return None
    try:
        return read_class_names(read_file(path, path.path, Limits().max_bytes), str(path))
    except BadInput as cause:
        raise DataError(str(cause)) from None


def _is_folder(where: Place) -> bool:
    return bool(where.info().type == fs.FileType.Directory)


def _is_picture(path: str) -> bool:
    return path.lower().endswith(ENDINGS["image-resize"])


def _below(root: Place, file: File) -> str:
    return file.path.removeprefix(f"{root.path}/")


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _reader(where: Place, path: str) -> Read:
    return partial(read_file, where, path, Limits().max_bytes)


def _file_rows(where: Place, files: Sequence[File]) -> Iterator[Row]:
    for number, file in zip(count(), files, strict=False):
        yield Row(where.url(file.path), number, _reader(where, file.path))
