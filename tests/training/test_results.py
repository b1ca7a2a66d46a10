"""Results files and the page made from them."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.device import DeviceInfo
from bundle.errors import RunError
from training.gpu_results import (
    GPU_FILE,
    NONE_YET,
    EngineRow,
    GpuResults,
    HttpRow,
    ModelFigures,
    Pace,
    Served,
    read_gpu_results,
    write_gpu_results,
)
from training.results import Results, read_results, table, write_results

RESULTS = Results(
    recipe="digits_cnn", task="image-classification", data="digits", split="test", metrics={"accuracy": 0.98765},
    baseline={"commonest_label": 0.1}, published={}, seconds=90.0, command="modelyard train digits_cnn", seed=0,
    commit="0123456789abcdef", machine="a machine, 2 cores",
)  # fmt: skip


def test_results_survive_the_file(tmp_path: Path) -> None:
    write_results(tmp_path / "results/digits_cnn.json", RESULTS)
    assert read_results(tmp_path / "results/digits_cnn.json") == RESULTS


def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"recipe": "x"}', encoding="utf-8")
    with pytest.raises(RunError, match=r"x\.json"):
        read_results(tmp_path / "x.json")


def test_the_table_shows_ours_the_baseline_and_where_it_ran(tmp_path: Path) -> None:
    write_results(tmp_path / "digits_cnn.json", RESULTS)
    text = table(tmp_path)
    row = next(line for line in text.splitlines() if "digits_cnn" in line)
    assert "accuracy 0.9877" in row
    assert "commonest label 0.1" in row
    assert "| 1.5 |" in row
    assert "0123456789" in row
    assert "a machine, 2 cores" in text


def gpu_results(kind: str = "cuda") -> GpuResults:
    paces = (
        Pace(batch_size=1, rows_per_second=2345.6, p50_ms=0.421, p99_ms=0.55, num_runs=400),
        Pace(batch_size=32, rows_per_second=23456.7, p50_ms=1.36, p99_ms=1.5, num_runs=400),
    )
    rows = (
        EngineRow(engine="PyTorch eager", precision="fp32", how="", max_error=1e-6, limit=1e-5, paces=paces[:1]),
        EngineRow(engine="ONNX Runtime", precision="fp16", how="CUDA", max_error=1e-3, limit=1e-2, paces=paces),
        EngineRow(engine="TensorRT", precision="int8-trt", how="", left_out="left out at export: too far off"),
    )
    http = [
        HttpRow(
            sent=sent, rows_per_request=1, connections=32, rows_per_second=rate, p50_ms=1, p99_ms=2, checked=9, wrong=0
        )
        for sent, rate in (("as clients send", 900.0), ("tensors of 1", 11728.35))
    ]
    served = Served(
        artefact="fp16", runtime="onnxruntime", why="the fastest", own_rows_per_second=23456.7, own_layout="batch 32",
        http=tuple(http),
    )  # fmt: skip
    return GpuResults(
        device=DeviceInfo(kind=kind, name="NVIDIA H200", compute_capability="9.0"),  # type: ignore[arg-type]
        driver="580.1", machine="a machine, 16 cores", versions={"torch": "2.13.0"}, commit="0123456789abcdef",
        commands=("python -m loadtests.gpu_bench models",),
        models=(ModelFigures(name="picture", task="image-classification", digest="0" * 64, inputs="image",
                             rows=rows, served=served),),
    )  # fmt: skip


def test_without_figures_of_a_gpu_the_page_says_so_in_one_line(tmp_path: Path) -> None:
    write_results(tmp_path / "digits_cnn.json", RESULTS)
    assert table(tmp_path).splitlines()[-1] == NONE_YET


def test_figures_of_capacity_are_no_recipe(tmp_path: Path) -> None:
    write_results(tmp_path / "digits_cnn.json", RESULTS)
    alone = table(tmp_path)
    (tmp_path / "capacity.json").write_text("{}", encoding="utf-8")
    assert table(tmp_path) == alone


def test_figures_of_a_gpu_are_no_recipe_and_have_a_table_of_their_own(tmp_path: Path) -> None:
    write_results(tmp_path / "digits_cnn.json", RESULTS)
    write_gpu_results(tmp_path / GPU_FILE, gpu_results())
    text = table(tmp_path)
    lines = text.splitlines()
    assert NONE_YET not in text
    assert "| engine | precision | batch 1: rows/s, p50 / p99 ms | batch 32: rows/s, p50 / p99 ms |" in lines
    assert "| PyTorch eager | fp32 | 2346, 0.421 / 0.55 | - |" in lines
    assert "| ONNX Runtime | fp16 | 2346, 0.421 / 0.55 | 2.346e+04, 1.36 / 1.5 |" in lines
    assert "Not measured: TensorRT, int8-trt: left out at export: too far off" in lines
    assert "1.173e+04 rows/s over HTTP, 0.50 of the engine's own 2.346e+04 (batch 32)" in text
    for said in (
        "NVIDIA H200 (compute capability 9.0), driver 580.1",
        "- `python -m loadtests.gpu_bench models`",
        "torch 2.13.0",
    ):
        assert said in text


def test_figures_of_a_cpu_are_refused_among_those_of_gpus(tmp_path: Path) -> None:
    path = tmp_path / GPU_FILE
    with pytest.raises(RunError, match=r"gpu\.json: figures of .* do not belong there"):
        write_gpu_results(path, gpu_results("cpu"))
    path.write_text(gpu_results("cpu").model_dump_json(), encoding="utf-8")
    with pytest.raises(RunError, match="which is no GPU"):
        table(tmp_path)


def test_gpu_figures_survive_the_file_and_another_form_is_refused(tmp_path: Path) -> None:
    write_gpu_results(tmp_path / GPU_FILE, gpu_results())
    assert read_gpu_results(tmp_path / GPU_FILE) == gpu_results()
    (tmp_path / GPU_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match=r"gpu\.json: not the figures of a GPU"):
        read_gpu_results(tmp_path / GPU_FILE)
