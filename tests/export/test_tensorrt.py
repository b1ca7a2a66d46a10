"""The builder's whole contract, on TensorRT-RTX, which builds where there is no GPU: profiles, and errors to act on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx", reason="the graphs are made with onnx")
trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX belongs to the dev extra")

from bundle.errors import RuntimeFailed  # noqa: E402
from bundle.preprocess import ImageResize, TextTokens  # noqa: E402
from bundle.tensors import TensorSpec  # noqa: E402
from export.engine_profiles import Profile, Range, bands, profiles  # noqa: E402
from export.onnx_nodes import read_nodes  # noqa: E402
from export.tensorrt import BuildOptions, build_plan  # noqa: E402
from export.timing_cache import use_timing_cache, write_timing_cache  # noqa: E402
from tests.export import tiny_graphs  # noqa: E402

FOUR = Range(4, 4, 4)
SOME = Range(1, 2, 8)


def profile(*axes: Range, name: str = "x") -> Profile:
    return {name: axes}


def fixed(*sizes: int) -> tuple[Range, ...]:
    return tuple(Range(size, size, size) for size in sizes)


ROWS = [profile(SOME, FOUR)]


def error(path: Path, wanted: list[Profile], options: BuildOptions | None = None) -> str:
    with pytest.raises(RuntimeFailed) as caught:
        build_plan(trt, path, wanted, options)
    return str(caught.value)


def test_a_graph_becomes_a_plan_for_every_profile(tmp_path: Path) -> None:
    path = tiny_graphs.save(tmp_path / "m.onnx", tiny_graphs.relu())
    one = build_plan(trt, path, [profile(Range(1, 1, 1), FOUR)])
    three = build_plan(trt, path, [profile(band, FOUR) for band in bands(32)])
    assert len(three.content) > len(one.content) > 0
    assert three.built_with["profiles"] == "x 1x4; x 2..8x4; x 9..32x4"
    assert three.built_with["tf32"] == "off"


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, ["1"]), (2, ["1", "2"]), (8, ["1", "2..8"]), (9, ["1", "2..8", "9"]), (32, ["1", "2..8", "9..32"])],
)
def test_the_batch_ladder_has_a_band_a_profile(most: int, expected: list[str]) -> None:
    assert [str(band) for band in bands(most)] == expected
    covered = [size for band in bands(most) for size in range(band.least, band.most + 1)]
    assert covered == list(range(1, most + 1))


def test_texts_have_every_length_that_preprocessing_gives() -> None:
    spec = TextTokens(vocab_size=28, max_tokens=40, pad_to_multiple=16)
    tokens = Range(16, 40, 40)
    assert profiles(spec, 4) == [
        {"input_ids": (band, tokens), "attention_mask": (band, tokens)} for band in (Range(1, 1, 1), Range(2, 4, 4))
    ]


class AnyHeight(ImageResize):
    """Pictures of a kind that there is not yet."""

    def input_specs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec(name="image", dtype="uint8", shape=("batch", "height", 8, 3)),)


def test_an_axis_that_nobody_can_size_is_named() -> None:
    with pytest.raises(RuntimeFailed, match="input 'image' has a dynamic axis 'height'"):
        profiles(AnyHeight(height_px=8, width_px=8), 4)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (profile(Range(4, 2, 8), FOUR), "input 'x', axis 0 is least 4, best 2, most 8; expected 1 <= least"),
        (profile(Range(0, 1, 8), FOUR), "input 'x', axis 0 is least 0, best 1, most 8; expected 1 <= least"),
        (profile(SOME, *fixed(5)), "input 'x', axis 1 is least 5, best 5, most 5; the graph has 4 there, always"),
        (profile(SOME), "gives input 'x' 1 axes, the graph has 2: [-1, 4]"),
        (profile(SOME, FOUR, name="picture"), "the profile is for inputs ['picture'], the graph has ['x']"),
    ],
)
def test_a_profile_that_does_not_fit_says_where(wanted: Profile, expected: str, tmp_path: Path) -> None:
    path = tiny_graphs.save(tmp_path / "m.onnx", tiny_graphs.relu())
    assert expected in error(path, [wanted])


def test_without_a_profile_nothing_is_built(tmp_path: Path) -> None:
    path = tiny_graphs.save(tmp_path / "m.onnx", tiny_graphs.relu())
    assert "no optimization profile has been defined" in error(path, [])


LAYER = "layer 'network.head' (torch.nn.modules.conv.Conv2d, in training.architectures.mlp.Mlp)"
PICTURE = [profile(SOME, *fixed(3, 8, 8))]
DETECTIONS: list[Profile] = [{"boxes": (SOME, *fixed(10, 4)), "scores": (SOME, *fixed(3, 10))}]
HEADS: list[Profile] = [{name: (SOME, *fixed(2, 6, 8)) for name in ("q", "k", "v")}]

REFUSED: list[tuple[Callable[[], Any], list[Profile], str, str, str]] = [
    (tiny_graphs.uint8_turned, ROWS, "'turn' (Transpose)", "has type UInt8", "cast first, then turn axes"),
    (tiny_graphs.zero_point, ROWS, "'to_int8' (QuantizeLinear)", "Non-zero zero point", "int8 is symmetric"),
    (tiny_graphs.int32_bias, ROWS, "'bias_from_int32' (DequantizeLinear)", "has type Int32", "QuantizeBias=False"),
    (tiny_graphs.dynamic_int8, ROWS, "'scale' (DynamicQuantizeLinear)", "not supported", "or `int8-trt`, not from"),
    (tiny_graphs.non_zero, ROWS, "'find' (NonZero)", "NonZero plugin", "shapes must not depend on values"),
    (tiny_graphs.antialiased, PICTURE, "'shrink' (Resize)", "Antialiasing is not", "resize without antialias"),
    (tiny_graphs.own_operator, ROWS, "'sharpen' (Sharpen)", "Plugin not found", "operators of plain ONNX"),
    (tiny_graphs.mixed_types, ROWS, "'plus' (Add)", "same input types", "a cast where float16 and float32 meet"),
    (tiny_graphs.non_max_suppression, DETECTIONS, "'suppress' (NonMaxSuppression)", "no runners", "training/nms.py"),
    (tiny_graphs.attention, HEADS, "'attend' (Attention)", "not supported by a dedicated", "export at opset 20"),
]


@pytest.mark.parametrize(
    ("made", "wanted", "place", "reason", "advice"), REFUSED, ids=[one[0].__name__ for one in REFUSED]
)
def test_an_operator_that_cannot_be_built_is_located_and_answered(
    made: Callable[[], Any], wanted: list[Profile], place: str, reason: str, advice: str, tmp_path: Path
) -> None:
    path = tiny_graphs.save(tmp_path / "m.onnx", made())
    message = error(path, wanted)
    assert message.startswith(f"{path}: tensorrt_rtx {trt.__version__} cannot ")
    assert f"node {place} of {LAYER}" in message
    assert reason in message.partition(LAYER)[2]
    assert advice in message.partition("What to do: ")[2]
    assert ".cpp" not in message.replace("decompose_composite_ops.cpp", "")


@pytest.mark.parametrize("content", [b"", b"hello world", b"\xff" * 100], ids=["empty", "text", "noise"])
def test_a_file_that_is_no_model_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    message = error(path, ROWS)
    assert str(path) in message
    assert "export it again" in message


def test_a_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny_graphs.product().SerializeToString()[:60])
    message = error(path, ROWS)
    assert "Failed to parse the ONNX model" in message
    assert "export it again" in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert error(tmp_path / "m.onnx", ROWS) == f"{tmp_path}/m.onnx: no such file to build an engine from"


def test_too_small_a_workspace_says_what_to_give(tmp_path: Path) -> None:
    path = tiny_graphs.save(tmp_path / "m.onnx", tiny_graphs.product())
    assert build_plan(trt, path, ROWS, BuildOptions(workspace_mib=64)).built_with["workspace"] == "64 MiB"
    assert "--workspace-mib N" in error(path, ROWS, BuildOptions(workspace_mib=1))


def test_a_compatibility_that_the_builder_does_not_take_is_no_silent_promise(tmp_path: Path) -> None:
    path = tiny_graphs.save(tmp_path / "m.onnx", tiny_graphs.relu())
    message = error(path, ROWS, BuildOptions(hardware_compatibility="ampere-plus"))
    assert "does not take hardware compatibility 'ampere-plus'" in message
    assert "leave --hardware-compatibility out" in message


@pytest.mark.parametrize("level", [-1, 6])
def test_an_optimisation_level_that_there_is_not_is_refused(level: int) -> None:
    with pytest.raises(RuntimeFailed, match=f"optimisation level {level} is not one of 0 to 5"):
        BuildOptions(optimisation_level=level)


def test_a_workspace_of_nothing_is_refused() -> None:
    with pytest.raises(RuntimeFailed, match="a workspace of 0 MiB builds nothing"):
        BuildOptions(workspace_mib=0)


def test_a_timing_cache_that_cannot_be_used_is_told_and_builds_all_the_same(tmp_path: Path) -> None:
    path = tiny_graphs.save(tmp_path / "m.onnx", tiny_graphs.relu())
    plan = build_plan(trt, path, ROWS, BuildOptions(timing_cache=tmp_path / "timings"))
    assert plan.built_with["timing_cache"].startswith("not used: Deprecated in TensorRT-RTX")
    assert not (tmp_path / "timings").exists()


class Config:
    """The timing cache's part of TensorRT's configuration, as the full TensorRT has it: one GPU's timings."""

    def __init__(self, of: bytes) -> None:
        self.of, self.taken = of, b"?"

    def create_timing_cache(self, content: bytes) -> bytes:
        return content or self.of

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        self.taken = cache if ignore_mismatch or cache.startswith(self.of) else self.taken
        return self.taken == cache

    def get_timing_cache(self) -> Any:
        taken = self.taken

        class Cache:
            def serialize(self) -> bytes:
                return taken + b"+"

        return Cache()


def test_a_timing_cache_grows_from_build_to_build(tmp_path: Path) -> None:
    path = tmp_path / "timings"
    for expected in (b"H200+", b"H200++"):
        config = Config(b"H200")
        assert use_timing_cache(config, path) == "used"
        assert write_timing_cache(config, path) == str(path)
        assert path.read_bytes() == expected
    assert [entry.name for entry in tmp_path.iterdir()] == ["timings"]


def test_a_timing_cache_of_another_gpu_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "timings"
    path.write_bytes(b"L4+++")
    config = Config(b"H200")
    assert use_timing_cache(config, path) == "used"
    assert config.taken == b"H200"


def test_a_timing_cache_in_no_folder_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = Config(b"H200")
    assert use_timing_cache(config, tmp_path).startswith("not used: ")
    assert write_timing_cache(config, tmp_path / "file" / "timings").startswith("used, not written: ")


def test_nodes_are_read_as_onnx_reads_them(tmp_path: Path) -> None:
    model = tiny_graphs.non_max_suppression()
    found = read_nodes(tiny_graphs.save(tmp_path / "m.onnx", model))
    assert [(one.name, one.op_type) for one in found] == [(one.name, one.op_type) for one in model.graph.node]
    assert {f"layer {one.layer}" for one in found} == {LAYER}


def test_nodes_of_what_is_no_model_are_none(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for content in (b"", b"hello world", b"\x3a\xff\xff\xff\xff"):
        path.write_bytes(content)
        assert read_nodes(path) == []
    assert read_nodes(tmp_path / "none.onnx") == []
