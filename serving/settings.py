"""Every setting of the service: a flag of `modelyard serve`, and an environment variable MODELYARD_<NAME>.

A flag wins over the environment. Knows values and ranges. Knows nothing of how they are used.
"""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.cpus import available_cpus


class Settings(BaseSettings):
    """Serve the bundles of a repository over HTTP."""

    model_config = SettingsConfigDict(
        env_prefix="MODELYARD_", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    repository: tyro.conf.Positional[Path] = Path("models")
    """Folder of bundles, <repository>/<name>/<version>; the newest version of each is served."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every interface."""
    port: int = Field(default=8000, ge=0, le=65535)
    """TCP port for HTTP; 0 takes a free one."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where models run; a device that is not there is refused, never replaced."""
    threads: Annotated[int, tyro.conf.arg(metavar="N")] = Field(default_factory=available_cpus, ge=1)
    """Threads that prepare inputs and run models, together; as many as the processors this process may use."""
    layout: Literal["auto", "throughput", "latency"] = "auto"
    """Processors a batch: one (throughput), all (latency), or by load and the model's latency table (auto)."""
    max_queue: int = Field(default=256, ge=1)
    """Inputs that may wait for one model; a request that does not fit is refused at once, with 503 and Retry-After."""
    timeout_ms: float = Field(default=30_000, gt=0)
    """How long a request may take that says nothing itself (header X-Request-Timeout-Ms); then it is answered 504."""
    here_ms: float = Field(default=0.3, ge=0)
    """Models whose batch of one takes less by their latency table run on the event loop; 0 keeps all on threads."""
    drain_s: float = Field(default=30.0, ge=0)
    """How long the process may take to answer what it has, after SIGTERM."""
    max_body_bytes: int = Field(default=64 * 2**20, ge=1)
    """Largest request body."""
    max_body_s: float = Field(default=60.0, gt=0)
    """Longest time in seconds that a request body may take to arrive."""
    max_input_bytes: int = Field(default=16 * 2**20, ge=1)
    """Largest single input (one file of a request)."""
    max_pixels: int = Field(default=50_000_000, ge=1)
    """Largest picture, width times height, read from its header before it is decoded."""
    max_instances: int = Field(default=64, ge=1)
    """Most inputs in one request."""
    log_level: Literal["critical", "error", "warning", "info", "debug"] = "info"
    """How much is logged to standard error."""


def describe(settings: type[Settings]) -> str:
    """docs/settings.md: every flag, its variable, its default and what it does."""
    lines = [
        "# Settings",
        "",
        "Made from `serving/settings.py` by `make docs`; do not edit. A flag wins over its environment variable.",
        "",
        "| flag of `modelyard serve` | environment | default | what it does |",
        "|---|---|---|---|",
    ]
    for name, field in settings.model_fields.items():
        flag = "REPOSITORY (first argument)" if name == "repository" else f"`--{name.replace('_', '-')}`"
        default = "as many as processors" if field.is_required() or field.default_factory else f"`{field.default}`"
        lines.append(f"| {flag} | `MODELYARD_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"
