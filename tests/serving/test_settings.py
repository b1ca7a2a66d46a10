import ast
import inspect
import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.settings import Settings
from tests.builders import png
from tests.serving.running import run_to_the_end, running
from tests.serving.wire import error_of, files, predictions_of

OTHER = {
    "repository": Path("elsewhere"),
    "host": "0.0.0.0",  # noqa: S104 - a value to read, nothing listens on it
    "port": 1,
    "grpc_port": 2,
    "metrics_port": 5678,
    "grpc_max_message_bytes": 3,
    "workers": 4,
    "device": "cuda",
    "runtime": "tensorrt",
    "precision": "fp16",
    "require_engine": True,
    "engines": Path("engines"),
    "gpus": "0,1",
    "gpu_instances": 6,
    "gpu_memory_mib": 1024,
    "cuda_graphs": True,
    "threads": 3,
    "layout": "latency",
    "max_queue": 9,
    "timeout_ms": 10.5,
    "here_ms": 0.5,
    "poll_s": 12.5,
    "golden_every_s": 13.5,
    "golden_limit_s": 14.5,
    "golden_failures_to_die": 15,
    "drain_s": 11.5,
    "max_body_bytes": 5,
    "max_body_s": 5.5,
    "max_input_bytes": 6,
    "max_pixels": 7,
    "max_instances": 8,
    "api_keys": "somebody:" + "0" * 64,
    "api_keys_file": Path("keys"),
    "admin_keys": "boss:" + "1" * 64,
    "admin_keys_file": Path("admins"),
    "metrics_need_key": True,
    "cors_origins": ("https://example.org",),
    "tls_cert": Path("cert.pem"),
    "tls_key": Path("key.pem"),
    "tls_client_ca": Path("ca.pem"),
    "max_connections": 16,
    "max_header_bytes": 2048,
    "max_header_s": 17.5,
    "max_read_s": 18.5,
    "keep_alive_s": 19.5,
    "max_json_elements": 20,
    "log_level": "debug",
    "log_format": "json",
    "tracing": "console",
    "nv_metrics": True,
}
"""A value for every setting that is not its default; a new setting needs a line here."""

REFUSED = {
    "port": ["abc", "-1", "65536", ""],
    "device": ["tpu", "CPU"],
    "runtime": ["trt"],
    "precision": ["bf16"],
    "gpus": ["", "0,", "-1", "one", "0 1", "all,0"],
    "gpu_instances": ["0", "65"],
    "gpu_memory_mib": ["0", "2GB"],
    "grpc_port": ["-1", "65536"],
    "workers": ["0", "two"],
    "threads": ["-1", "two", "1.5"],
    "layout": ["fast"],
    "max_queue": ["0"],
    "timeout_ms": ["0"],
    "here_ms": ["-1"],
    "drain_s": ["-1"],
    "max_body_bytes": ["0", "64MB"],
    "max_input_bytes": ["-1"],
    "max_pixels": ["0"],
    "max_instances": ["0"],
    "poll_s": ["-1"],
    "golden_every_s": ["-1"],
    "max_connections": ["0"],
    "log_level": ["loud"],
    "log_format": ["xml"],
    "tracing": ["on"],
}


def as_text(value: object) -> str:
    """A value as the environment holds it: lists are JSON."""
    return json.dumps(value) if isinstance(value, tuple) else str(value)


def docstrings() -> dict[str, str]:
    """Setting -> the string below it in the source, in one line."""
    body = ast.parse(inspect.getsource(Settings)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found


@pytest.fixture(scope="module")
def help_text() -> str:
    """What --help prints, without its frames, in one line."""
    done = run_to_the_end("--help", environment={"COLUMNS": "100"})
    assert done.returncode == 0
    return " ".join(re.sub("[│╭╮╰╯─]", " ", done.stdout).split())


def test_every_setting_has_a_value_to_test_with() -> None:
    assert OTHER.keys() == Settings.model_fields.keys()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_an_environment_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert getattr(Settings(), name) != OTHER[name]
    monkeypatch.setenv(f"MODELYARD_{name.upper()}", as_text(OTHER[name]))
    assert getattr(Settings(), name) == OTHER[name]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_explained_in_help(help_text: str, name: str) -> None:
    assert docstrings()[name] in help_text
    if name != "repository":  # the one that has no flag, because it is the argument
        assert re.search(rf"--(no-)?{name.replace('_', '-')}[ ,]", help_text)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_a_value_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MODELYARD_{name.upper()}", value)
    with pytest.raises(ValidationError):
        Settings()


def test_settings_do_not_change_once_read() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_bad_values_in_the_environment_are_one_clear_line() -> None:
    environment = {f"MODELYARD_{name.upper()}": values[0] for name, values in REFUSED.items()}
    done = run_to_the_end("models", environment=environment)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("modelyard serve: ")
    assert done.stderr.count("\n") == 1
    for variable, value in environment.items():
        assert f"{variable}='{value}'" in done.stderr


@pytest.mark.parametrize("flag", ["--port=abc", "--port=65536", "--workers=0", "--device=tpu", "--colour=red"])
def test_a_bad_flag_is_told_without_a_traceback(flag: str) -> None:
    done = run_to_the_end("models", flag)
    assert done.returncode in (1, 2)
    assert flag.partition("=")[0].lstrip("-") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_flag_wins_over_the_environment(repository: Path, tmp_path: Path) -> None:
    environment = {"MODELYARD_PORT": "1", "MODELYARD_MAX_BODY_BYTES": "10", "MODELYARD_MAX_INSTANCES": "1"}
    with running(repository, tmp_path, "--max-body-bytes=100000", environment=environment) as server:
        server.wait_for_status("/v2/health/ready", 200)
        assert len(predictions_of(server.client.post("/v1/classify", content=png()))) == 1
        refused = server.client.post("/v1/classify", files=files([png(), png()]))
        error_of(refused, 413, "input_too_large")
