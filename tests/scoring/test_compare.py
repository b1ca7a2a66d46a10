"""Two models on one data set: what differs, by how much, and when that is too much."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("jinja2", reason="reports need it")

from bundle.errors import BadInput, DataError
from bundle.manifest import Artefact
from scoring.comparison import Comparison, Settings, compare
from scoring.report import METRICS_FILE, REPORT_FILE, write_comparison
from tests.builders import FAKE_FILE, LABELS, passed_evidence, write_fake_bundle
from tests.conformance.examples import EXAMPLES, KINDS
from tests.scoring.labelled import answers, pictures, write_csv
from tests.scoring.running import environment, write_example_bundle, write_pictures


def run(one: Path, other: Path, data: Path, **more: Any) -> Comparison:
    return compare(Settings(one, other, str(data), workers=2, **more))


@pytest.fixture(scope="module")
def relabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another version: the same scores, two labels swapped."""
    return write_fake_bundle(tmp_path_factory.mktemp("models"), labels=("dog", "cat", "owl"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "data", 12)


def test_a_model_agrees_with_itself(picture_bundle: Path, data: Path) -> None:
    done = run(picture_bundle, picture_bundle, data)
    assert (done.rows.both, done.rows.differing, done.share, done.rows.max_apart) == (12, 0, 0.0, 0.0)
    assert done.largest == done.agreeing == []


def test_answers_that_differ_are_counted_and_shown(picture_bundle: Path, relabelled: Path, data: Path) -> None:
    done = run(picture_bundle, relabelled, data)
    expected = sum(answer.label != "owl" for answer in answers(picture_bundle, pictures(12)))
    assert 0 < expected < 12
    assert done.rows.differing == expected == len(done.largest)
    assert done.share == expected / 12
    assert done.rows.within_proof == 0
    sizes = [apart for apart, _ in done.largest]
    assert sizes == sorted(sizes, reverse=True)
    assert done.rows.max_apart >= sizes[0] > 0
    assert all("expected '" in found.reason for _, found in done.largest)


def test_what_an_error_explains_does_not_differ(picture_bundle: Path, relabelled: Path, data: Path) -> None:
    assert run(picture_bundle, relabelled, data, atol=1.0).rows.differing == 0


def test_labels_that_only_one_has_are_told(picture_bundle: Path, data: Path, tmp_path: Path) -> None:
    other = write_fake_bundle(tmp_path / "models", labels=("cat", "dog", "wolf"))
    assert run(picture_bundle, other, data).label_differences() == ["only A has 'owl'", "only B has 'wolf'"]


def test_rows_that_not_both_answer_are_counted(series_bundle: Path, tmp_path: Path) -> None:
    raws = [raw.decode() for raw in KINDS["series"].raws] + ["1,2,3"]
    table = write_csv(tmp_path / "data.csv", ["series"], [[raw] for raw in raws])
    done = run(series_bundle, series_bundle, table)
    assert (done.rows.both, done.rows.errors) == (4, {"neither": 1})
    assert "row 4: the series has 3 values" in done.rows.first["neither"]


def test_models_of_unlike_tasks_are_not_compared(picture_bundle: Path, mask_bundle: Path, data: Path) -> None:
    expected = "fake/1 is for image-classification, fake/1 for image-segmentation; only models of one task"
    with pytest.raises(BadInput, match=expected):
        run(picture_bundle, mask_bundle, data)


def test_nothing_to_compare_is_an_error(picture_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no rows"):
        run(picture_bundle, picture_bundle, write_csv(tmp_path / "empty.csv", ["image"], []))
    bad = write_pictures(tmp_path / "bad", 3, bad=(0, 1, 2))
    with pytest.raises(DataError, match="none of 3 rows is answered by both: 3 answered by neither"):
        run(picture_bundle, picture_bundle, bad)


@pytest.mark.parametrize("task", list(EXAMPLES))
def test_every_task_is_compared_and_shown(task: str, tmp_path: Path) -> None:
    example = EXAMPLES[task]
    one = write_example_bundle(tmp_path / "models", task)
    raws = KINDS[example.preprocess.kind].raws
    names = {"image-resize": "image", "series": "series", "text-tokens": "text"}
    cells = [raw.decode("latin-1") if example.preprocess.kind == "image-resize" else raw.decode() for raw in raws]
    if example.preprocess.kind == "image-resize":
        data = write_pictures(tmp_path / "data", 4)
    else:
        data = write_csv(tmp_path / "data.csv", [names[example.preprocess.kind]], [[cell] for cell in cells])
    done = run(one, one, data)
    assert (done.rows.both, done.rows.differing) == (4, 0)
    assert write_comparison(tmp_path / "out", done).is_file()


def test_two_artefacts_of_a_bundle_by_the_command(tmp_path: Path, data: Path) -> None:
    plain = write_fake_bundle(tmp_path / "models")
    document = msgspec.json.decode((plain / "manifest.json").read_bytes())
    again = Artefact(
        file=FAKE_FILE, runtime="fake", precision="int8", made="by a test", atol=0.1,
        evidence=passed_evidence(document["artefacts"]["fp32"]["evidence"]["sha256"]),
    )  # fmt: skip
    fp32 = Artefact.model_validate(document["artefacts"]["fp32"])
    both = write_fake_bundle(tmp_path / "models", name="both", artefacts={"fp32": fp32, "int8": again})
    report = tmp_path / "out"
    done = command(both, both, data, "--artefact-a", "fp32", "--artefact-b", "int8", "--report", report)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(report / REPORT_FILE)
    figures = json.loads((report / METRICS_FILE).read_bytes())
    assert (figures["a"]["artefact"], figures["b"]["artefact"]) == ("fp32", "int8")
    assert figures["rows"]["differing"] == 0
    assert figures["proven_atol"] == pytest.approx(0.1 + fp32.atol)


def test_too_many_differences_have_an_exit_code(picture_bundle: Path, relabelled: Path, data: Path) -> None:
    done = command(picture_bundle, relabelled, data, "--max-disagreement", 0.01)
    assert done.returncode == 3
    assert "more than --max-disagreement 0.01 allows" in done.stderr
    assert command(picture_bundle, relabelled, data, "--max-disagreement", 1).returncode == 0
    refused = command(picture_bundle, relabelled, data, "--max-disagreement", 2)
    assert (refused.returncode, "a share lies between 0 and 1" in refused.stderr) == (1, True)


def test_a_report_shows_both_answers(picture_bundle: Path, relabelled: Path, data: Path, tmp_path: Path) -> None:
    done = run(picture_bundle, relabelled, data)
    write_comparison(tmp_path / "out", done)
    page = (tmp_path / "out" / REPORT_FILE).read_text(encoding="utf-8")
    assert page.count("<img") == len(done.largest) + len(done.agreeing)
    assert all(label in page for label in LABELS)
    assert "http" not in page.replace("http-equiv", "")


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelyard", "compare", *map(str, arguments)],
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
