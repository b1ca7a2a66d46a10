"""Reports: one HTML file that needs nothing else, and metrics.json beside it.

Everything that comes from data is escaped by jinja2, and the page forbids scripts and other files by itself. Knows
evaluations, comparisons and panels. Knows nothing of how they were made.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import msgspec

from bundle.errors import DataError, ModelyardError
from bundle.metrics import Table
from scoring.comparison import Comparison, Difference
from scoring.evaluation import Evaluation, Example
from scoring.panels import Artist, Panel, told, truth_told
from scoring.scorer import Raw

CARD_PX = (340, 340, 500, 700)
"""Least width of an example, by its number of panels."""
REPORT_FILE, METRICS_FILE = "report.html", "metrics.json"


class Shown(msgspec.Struct, frozen=True):
    """One example of a report."""

    where: str
    lines: tuple[tuple[str, str], ...]
    """(what, value)."""
    panels: tuple[Panel, ...]
    badge: str


def evaluation_document(done: Evaluation) -> dict[str, Any]:
    """metrics.json of an evaluation."""
    evidence = done.evidence()
    rows = done.rows
    return {
        **done.loaded.about(),
        "input": done.about,
        "seconds": round(done.seconds, 3),
        "rows": {
            "read": rows.read,
            "judged": rows.judged,
            "wrong": rows.wrong,
            "left_out": dict(rows.left_out),
            "first_left_out": rows.first,
            "boxes_left_out": rows.boxes_left_out,
            "labels_the_model_does_not_know": dict(rows.unknown.most_common()),
            "labels_the_data_do_not_have": done.never_seen(),
        },
        "figures": done.figures,
        "compared_with_evidence": None
        if evidence is None
        else {
            "metric": evidence[0],
            "here": done.figures[evidence[0]],
            "evidence": evidence[1],
            "num_test_samples": evidence[2],
        },
        "tables": [_table(table) for table in done.tables],
        "worst": [
            {"source": one.source, "row": one.number, "wrong": wrong,
             "truth": truth_told(done.loaded.manifest, one.truth), "answer": told(done.loaded.manifest, one.answer)}
            for wrong, one in done.worst
        ],
    }  # fmt: skip


def comparison_document(done: Comparison) -> dict[str, Any]:
    """metrics.json of a comparison."""
    rows = done.rows
    return {
        "a": done.one.about(),
        "b": done.other.about(),
        "input": done.about,
        "seconds": round(done.seconds, 3),
        "atol": done.atol,
        "proven_atol": done.proven_atol,
        "label_differences": done.label_differences(),
        "rows": {
            "read": rows.read,
            "answered_by_both": rows.both,
            "differing": rows.differing,
            "differing_share": done.share,
            "differing_within_proven_errors": rows.within_proof,
            "not_answered_by_both": dict(rows.errors),
            "first_not_answered": rows.first,
        },
        "apart": {"measured": done.measured, "mean": rows.sum_apart / rows.both, "max": rows.max_apart},
        "largest": [
            {"source": one.source, "row": one.number, "apart": apart, "reason": one.reason,
             "a": told(done.one.manifest, one.answers[0]), "b": told(done.other.manifest, one.answers[1])}
            for apart, one in done.largest
        ],
    }  # fmt: skip


def write_evaluation(folder: Path, done: Evaluation) -> Path:
    """Write both files; the page's path.

    Raises:
        DataError: they cannot be written.
    """
    document = evaluation_document(done)
    artist = Artist(done.loaded.manifest)
    examples = [_worst(artist, done, one) for _, one in done.worst]
    page = _render("evaluation.html", document, examples, artist.legend(), tables=done.tables)
    return _write(folder, page, document)


def write_comparison(folder: Path, done: Comparison) -> Path:
    """Write both files; the page's path.

    Raises:
        DataError: they cannot be written.
    """
    document = comparison_document(done)
    artists = (Artist(done.one.manifest), Artist(done.other.manifest))
    examples, agreeing = (
        [_differing(artists, done, apart, one) for apart, one in found] for found in (done.largest, done.agreeing)
    )
    legend = list(dict.fromkeys([*artists[0].legend(), *artists[1].legend()]))
    return _write(folder, _render("comparison.html", document, examples, legend, agreeing=agreeing), document)


def _worst(artist: Artist, done: Evaluation, one: Example) -> Shown:
    manifest = done.loaded.manifest
    panels = _panels(
        one.raw,
        artist.input,
        lambda raw: artist.truth(raw, one.truth, "truth"),
        lambda raw: artist.answer(raw, one.answer, "answer"),
    )
    lines = (("truth", truth_told(manifest, one.truth)), ("answer", told(manifest, one.answer)))
    return Shown(f"{one.source}, row {one.number}", lines, panels, "")


def _differing(artists: tuple[Artist, Artist], done: Comparison, apart: float, one: Difference) -> Shown:
    panels = _panels(
        one.raw,
        artists[0].input,
        lambda raw: artists[0].answer(raw, one.answers[0], "A"),
        lambda raw: artists[1].answer(raw, one.answers[1], "B"),
    )
    answers = (told(done.one.manifest, one.answers[0]), told(done.other.manifest, one.answers[1]))
    lines = (("A", answers[0]), ("B", answers[1]), ("why", one.reason))
    return Shown(f"{one.source}, row {one.number}", lines, panels, f"{apart:.3g}")


def _panels(raw: Raw, *draw: Callable[[bytes], Panel | None]) -> tuple[Panel, ...]:
    """The input is read again, so that only few are ever held; what cannot be had any more is said."""
    try:
        content = raw()
        return tuple(panel for panel in (one(content) for one in draw) if panel is not None)
    except (ModelyardError, ValueError) as cause:
        return (Panel("input", text=f"cannot be shown: {cause}"),)


def _table(table: Table) -> dict[str, Any]:
    return {"title": table.title, "head": list(table.head), "rows": [list(row) for row in table.rows]}


def _render(
    template: str, document: dict[str, Any], examples: list[Shown], legend: list[tuple[str, str]], **more: Any
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure
    shown = [*examples, *more.get("agreeing", ())]
    card_px = CARD_PX[max((len(one.panels) for one in shown), default=0)]
    values = {"document": document, "examples": examples, "legend": legend, "card_px": card_px}
    return environment.get_template(template).render(**values, **more)


def figure(value: Any) -> str:
    """A cell for people: shares with four places, counts whole."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _write(folder: Path, page: str, document: dict[str, Any]) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _put(folder / METRICS_FILE, msgspec.json.format(msgspec.json.encode(_printable(document)), indent=1) + b"\n")
        _put(folder / REPORT_FILE, page.encode("utf-8", "backslashreplace"))
    except OSError as cause:
        raise DataError(f"{folder}: the report cannot be written: {cause.strerror or cause}") from None
    return folder / REPORT_FILE


def _put(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _printable(value: Any) -> Any:
    """The same, all texts valid UTF-8: a file may have any name."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_printable(key): _printable(one) for key, one in value.items()}
        case list() | tuple():
            return [_printable(one) for one in value]
    return value
