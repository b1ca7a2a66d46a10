"""Records of engines and proofs beside a bundle: written whole, and believed only for the bundle they were made for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundle.engines import (
    DEVICE_CHECKS,
    FOLDER,
    EngineRecord,
    engines_folder,
    plan_path,
    read_records,
    record_stem,
    write_document,
    write_record,
)
from bundle.errors import BundleError
from bundle.evidence import Check
from bundle.store import Bundle, open_bundle
from tests.engine_records import GPU, build, plan_of, prove, record_of, write_gpu_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_gpu_bundle(tmp_path)


def only_problem(bundle: Bundle, cache: Path | None = None) -> str:
    """What is wrong with the one record that lies there."""
    records, (problem,) = read_records(bundle, cache)
    assert not records
    return problem


def test_what_was_written_is_read(bundle: Bundle) -> None:
    written = build(bundle, "fp16"), prove(bundle, "fp32")
    records, wrong = read_records(bundle)
    assert wrong == []
    assert {one.artefact: one.model_copy(update={"digest": ""}) for one in records} == {
        one.artefact: one for one in written
    }


def test_its_name_holds_gpu_engine_version_and_artefact(bundle: Bundle) -> None:
    build(bundle, "int8-trt")
    assert record_stem("fp32", "onnxruntime", "1.31.1", GPU) == "nvidia-q100-ort1.31.1.fp32"
    assert sorted(path.name for path in (bundle.folder / FOLDER).iterdir()) == [
        "nvidia-q100-trt11.4.0.int8-trt.json",
        "nvidia-q100-trt11.4.0.int8-trt.plan",
    ]


def test_records_lie_in_the_bundle_or_in_a_cache_by_name_version_and_digest(bundle: Bundle, tmp_path: Path) -> None:
    assert engines_folder(bundle) == bundle.folder / "engines"
    cache = tmp_path / "cache"
    assert engines_folder(bundle, cache) == cache / "fake" / f"1-{bundle.manifest.digest[:12]}"
    prove(bundle, cache=cache)
    assert read_records(bundle) == ([], [])
    assert len(read_records(bundle, cache)[0]) == 1


def test_a_bundle_with_records_is_still_the_bundle_that_was_exported(bundle: Bundle) -> None:
    build(bundle)
    assert open_bundle(bundle.folder).manifest == bundle.manifest


def test_where_nothing_was_built_there_is_nothing(bundle: Bundle) -> None:
    assert read_records(bundle) == ([], [])


def test_tunings_and_files_being_written_are_no_records(bundle: Bundle) -> None:
    folder = engines_folder(bundle)
    folder.mkdir()
    for name in ("nvidia-q100.tune.json", ".half.json", "nvidia-q100.png"):
        (folder / name).write_text("{", encoding="utf-8")
    assert read_records(bundle) == ([], [])


def edited(bundle: Bundle, change: Callable[[Any], object]) -> None:
    (path,) = engines_folder(bundle).glob("*.json")
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda record: record["evidence"]["latency"]["median_ms"].update({"1": 0.001}), "does not match its digest"),
        (lambda record: record.update(digest=""), "does not match its digest"),
        (lambda record: record.update(passed=True), "passed: Extra inputs are not permitted"),
        (lambda record: record.update(schema_version=2), "schema_version"),
        (lambda record: record.update(file="../../model.plan"), "not a plain path"),
    ],
    ids=["figure", "unsealed", "unknown key", "newer form", "outside"],
)
def test_a_record_that_was_changed_is_refused(bundle: Bundle, change: Callable[[Any], object], told: str) -> None:
    build(bundle)
    edited(bundle, change)
    problem = only_problem(bundle)
    assert told in problem
    assert "nvidia-q100-trt11.4.0.fp16.json" in problem


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 100_000])
def test_a_file_that_is_no_record_is_told_and_leaves_the_others(bundle: Bundle, content: bytes) -> None:
    prove(bundle)
    path = engines_folder(bundle) / "a.json"
    path.write_bytes(content)
    records, (problem,) = read_records(bundle)
    assert len(records) == 1
    assert str(path) in problem


def test_a_folder_with_a_records_name_is_told(bundle: Bundle) -> None:
    (engines_folder(bundle) / "a.json").mkdir(parents=True)
    assert "cannot be read" in only_problem(bundle)


def test_a_record_of_another_bundle_is_refused(bundle: Bundle) -> None:
    prove(bundle, bundle_digest="0" * 64)
    assert "made for another bundle (digest 000000000000)" in only_problem(bundle)


@pytest.mark.parametrize("changes", [{"artefact": "fp8"}, {"artefact_sha256": "0" * 64}])
def test_a_record_of_an_artefact_that_the_bundle_lacks_is_refused(bundle: Bundle, changes: dict[str, str]) -> None:
    write_record(engines_folder(bundle), record_of(bundle).model_copy(update=changes))
    assert "the bundle has no artefact" in only_problem(bundle)


@pytest.mark.parametrize("missing", DEVICE_CHECKS)
def test_a_record_without_a_whole_proof_is_refused(bundle: Bundle, missing: str) -> None:
    evidence = record_of(bundle).evidence
    kept = tuple(check for check in evidence.checks if check.kind != missing)
    prove(bundle, evidence=evidence.model_copy(update={"checks": kept}))
    assert f"is not proven on NVIDIA Q100 (compute capability 9.0): its evidence lacks the checks {missing}" in (
        only_problem(bundle)
    )


def test_a_record_with_a_broken_limit_is_refused(bundle: Bundle) -> None:
    evidence = record_of(bundle).evidence
    broken = Check(kind="values", subject="scores", value=1.0, limit=0.1)
    prove(bundle, evidence=evidence.model_copy(update={"checks": (*evidence.checks, broken)}))
    assert "broken limits" in only_problem(bundle)


@pytest.mark.parametrize("changes", [{"file": "a.plan"}, {"sha256": "0" * 64}])
def test_a_plan_has_a_name_and_a_hash_or_neither(bundle: Bundle, changes: dict[str, str]) -> None:
    prove(bundle, **changes)
    assert "go together" in only_problem(bundle)


def test_a_plan_is_found_beside_its_record(bundle: Bundle) -> None:
    record = build(bundle)
    assert plan_path(engines_folder(bundle), record) == plan_of(bundle, record)


def test_a_plan_that_was_changed_or_is_gone_is_refused(bundle: Bundle) -> None:
    record = build(bundle)
    plan = plan_of(bundle, record)
    plan.write_bytes(plan.read_bytes() + b" ")
    with pytest.raises(BundleError, match=r"changed or damaged; run `modelyard build-engine` again"):
        plan_path(engines_folder(bundle), record)
    plan.unlink()
    with pytest.raises(BundleError, match=r"cannot be read: No such file"):
        plan_path(engines_folder(bundle), record)


def test_a_proof_of_the_artefact_itself_has_no_plan(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="names no plan"):
        plan_path(engines_folder(bundle), prove(bundle))


def test_a_reader_never_sees_half_a_record(bundle: Bundle) -> None:
    """A new record takes the place of the old one in one step, and leaves nothing else behind."""
    first = prove(bundle, ms=1.0)
    with (engines_folder(bundle) / f"{first.stem}.json").open("rb") as reader:
        prove(bundle, ms=2.0)
        assert EngineRecord.model_validate_json(reader.read()).evidence.latency.median_ms == {1: 1.0}
    assert [path.name for path in engines_folder(bundle).iterdir()] == [f"{first.stem}.json"]


def test_where_nothing_can_be_written_another_folder_is_advised(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="name another folder with --engines"):
        write_record(tmp_path / "file", record_of(bundle))


def test_a_write_that_fails_leaves_nothing_behind(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "engines" / "taken.json").mkdir(parents=True)
    with pytest.raises(BundleError, match="cannot be written"):
        write_document(tmp_path / "engines" / "taken.json", record_of(bundle))
    assert [path.name for path in (tmp_path / "engines").iterdir()] == ["taken.json"]


def test_an_artefacts_name_cannot_lead_out_of_the_folder(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be a record's file name"):
        write_record(tmp_path, record_of(bundle, runtime_version="1/../../.."))
