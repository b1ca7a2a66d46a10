"""Pascal VOC (Everingham et al. 2010): Annotations/*.xml, JPEGImages/*, and ImageSets/Main/*.txt for the splits.

Knows the format. Knows nothing of detectors.
"""

from pathlib import Path
from typing import Literal
from xml.parsers import expat

from bundle.errors import DataError
from training.data.boxes import RawBox, RawPicture, labels_of, make_samples, split
from training.data.samples import MEDIA_TYPES, DataConfig, Splits

SIDES = ("xmin", "ymin", "xmax", "ymax")


class VocFolder(DataConfig):
    """A folder of one's own; labels are what train's boxes are called, sorted.

    ImageSets/Main may hold train.txt, val.txt and test.txt (names without suffix, one a line). Without test.txt a fifth
    of train is held out for the test; without any list all annotated pictures are train.
    """

    dataset: Literal["voc"] = "voc"
    folder: Path

    def load(self) -> Splits:
        """Read all annotations; pictures are read when they are needed."""
        return load_voc(self.folder)


def load_voc(folder: Path) -> Splits:
    """Read a VOC folder.

    Raises:
        DataError: missing or damaged; the message names file and line.
    """
    listed = {name: _listed(folder, name) for name in ("train", "val", "test")}
    train = listed["train"] or _all_annotated(folder)
    labels = labels_of(train, folder)
    samples = {name: make_samples(part, labels, folder) for name, part in listed.items() if part}
    trained = samples.get("train") or make_samples(train, labels, folder)
    return split(labels, trained, samples.get("test"), samples.get("val"))


def _listed(folder: Path, name: str) -> list[RawPicture] | None:
    """The pictures of one split; None where the data set has no such list."""
    path = folder / "ImageSets" / "Main" / f"{name}.txt"
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return [_picture(folder, line.strip(), f"{path}:{i}") for i, line in enumerate(lines, start=1) if line.strip()]


def _all_annotated(folder: Path) -> list[RawPicture]:
    names = sorted(path.stem for path in (folder / "Annotations").glob("*.xml"))
    if not names:
        raise DataError(
            f"{folder}: no Annotations/*.xml; a VOC folder holds Annotations, JPEGImages and ImageSets/Main"
        )
    return [_picture(folder, name, str(folder / "Annotations" / f"{name}.xml")) for name in names]


def _picture(folder: Path, name: str, where: str) -> RawPicture:
    if Path(name).name != name:
        raise DataError(f"{where}: '{name}' is not the bare name of a picture")
    xml = folder / "Annotations" / f"{name}.xml"
    if not xml.is_file():
        raise DataError(f"{where}: no annotation {xml}")
    found = [path for suffix in MEDIA_TYPES for path in (folder / "JPEGImages").glob(f"{name}{suffix}")]
    found += [path for suffix in MEDIA_TYPES for path in (folder / "JPEGImages").glob(f"{name}{suffix.upper()}")]
    if not found:
        raise DataError(f"{where}: no picture JPEGImages/{name}.* ({', '.join(MEDIA_TYPES)})")
    return RawPicture(found[0], read_annotation(xml), where)


def read_annotation(path: Path) -> tuple[RawBox, ...]:
    """The boxes of one annotation.

    Raises:
        DataError: not XML, or an object without a name or a complete box; the message names file and line.
    """
    root = read_xml(path)
    if root.tag != "annotation":
        raise DataError(f"{path}:{root.line}: the outermost element is <{root.tag}>, expected <annotation>")
    return tuple(_box(node, path) for node in root.children if node.tag == "object")


def _box(node: "Node", path: Path) -> RawBox:
    where = f"{path}:{node.line}"
    label = node.text_of("name")
    if not label:
        raise DataError(f"{where}: this <object> has no <name>")
    bounds = node.child("bndbox")
    if bounds is None:
        raise DataError(f"{where}: this <object> ('{label}') has no <bndbox>")
    x0, y0, x1, y1 = (_number(bounds, side, path) for side in SIDES)
    return RawBox(label, (x0, y0, x1, y1), where)


def _number(bounds: "Node", side: str, path: Path) -> float:
    text = bounds.text_of(side)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise DataError(f"{path}:{bounds.line}: <{side}> is '{text}', expected a number of pixels")
    return value


class Node:
    """An XML element that knows its line."""

    def __init__(self, tag: str, line: int) -> None:
        self.tag = tag
        self.line = line
        self.text = ""
        self.children: list[Node] = []

    def child(self, tag: str) -> "Node | None":
        """The first child of that name."""
        return next((node for node in self.children if node.tag == tag), None)

    def text_of(self, tag: str) -> str:
        """The text of the first child of that name; empty where there is none."""
        node = self.child(tag)
        return "" if node is None else node.text.strip()


def read_xml(path: Path) -> Node:
    """Read a small XML file by expat, lines kept; one that declares entities of its own is refused unread.

    Raises:
        DataError: unreadable or not well formed; the message names the line.
    """
    outermost = Node("", 0)
    open_nodes = [outermost]
    parser = expat.ParserCreate()

    def start(tag: str, _: dict[str, str]) -> None:
        node = Node(tag, parser.CurrentLineNumber)
        open_nodes[-1].children.append(node)
        open_nodes.append(node)

    def text(content: str) -> None:
        open_nodes[-1].text += content

    def refuse(*_: object) -> None:
        raise DataError(f"{path}:{parser.CurrentLineNumber}: declares a document type; annotations need none")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: open_nodes.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse  # entities that unfold to gigabytes, or read other files, begin there
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as cause:
        raise DataError(f"{path}:{cause.lineno}: not well-formed XML: {expat.ErrorString(cause.code)}") from None
    except OSError as cause:
        raise DataError(f"{path}: cannot be read: {cause.strerror}") from None
    return outermost.children[0]
