"""Every setting of the service: a flag of `modelyard serve`, and an environment variable MODELYARD_<NAME>.

A flag wins over the environment. Knows values and ranges. Knows nothing of how they are used.
"""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.choice import PrecisionWanted, RuntimeWanted
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
    grpc_port: Annotated[int | None, Field(ge=0, le=65535)] = None
    """TCP port for gRPC; 0 takes a free one; left out: no gRPC."""
    metrics_port: Annotated[int | None, Field(ge=0, le=65535)] = None
    """TCP port for /metrics and health alone, in plain HTTP without keys; 0 takes a free one; left out: none."""
    grpc_max_message_bytes: int = Field(default=64 * 2**20, ge=1)
    """Largest gRPC request."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where models run; a device that is not there is refused, never replaced."""
    runtime: RuntimeWanted = "auto"
    """Which engine runs models; auto: whichever is fastest of those whose proof holds on this device."""
    precision: PrecisionWanted = "auto"
    """Which artefacts run; auto: as above. A precision that a model lacks is replaced, and that is told loudly."""
    require_engine: bool = False
    """Refuse models that have no TensorRT engine built and proven for this GPU, instead of falling back to ONNX."""
    engines: Path | None = None
    """Folder of engines and proofs made on this node, in place of those inside the bundles."""
    gpus: str = Field(default="0", pattern=r"^(all|\d+(,\d+)*)$")
    """GPUs that every model is placed on: 0 or 0,1 or all; one queue feeds them all."""
    gpu_instances: int = Field(default=2, ge=1, le=64)
    """Batches of a model that are on a GPU at once: one computes while the next is copied."""
    gpu_memory_mib: Annotated[int | None, Field(ge=1)] = None
    """Most memory in MiB that a model may take for itself on each GPU; left out: what is there."""
    cuda_graphs: bool = False
    """Capture batches of 1, 2, 4, ... as CUDA graphs where shapes are fixed: quicker to launch, more memory."""
    workers: int = Field(default=1, ge=1, le=256)
    """Processes that share the port; each has all models, and its share of the processors."""
    threads: Annotated[int, tyro.conf.arg(metavar="N")] = Field(default=0, ge=0)
    """Threads that prepare inputs and run models, together; 0: the processors that may be used, shared by workers."""
    layout: Literal["auto", "throughput", "latency"] = "auto"
    """Processors a batch: one (throughput), all (latency), or by load and the model's latency table (auto)."""
    max_queue: int = Field(default=256, ge=1)
    """Inputs that may wait for one model; a request that does not fit is refused at once, with 503 and Retry-After."""
    timeout_ms: float = Field(default=30_000, gt=0)
    """How long a request may take that says nothing itself (header X-Request-Timeout-Ms); then it is answered 504."""
    here_ms: float = Field(default=0.3, ge=0)
    """Models whose batch of one takes less by their latency table run on the event loop; 0 keeps all on threads."""
    poll_s: float = Field(default=2.0, ge=0)
    """How often the repository is looked at for new, changed and deleted versions; 0: only when told to."""
    golden_every_s: float = Field(default=30.0, ge=0)
    """How often each model is asked one golden sample while it runs; 0: never."""
    golden_limit_s: float = Field(default=10.0, gt=0)
    """A golden sample that is not answered for so long, while no other request is either, is a hang: not ready."""
    golden_failures_to_die: int = Field(default=3, ge=1)
    """Golden failures in a row after which the process says that it is not live."""
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
    api_keys: str = ""
    """Who may ask, as name:sha256hex with commas between (`modelyard key NAME` makes one); none anywhere: all may."""
    api_keys_file: Path | None = None
    """The same, a line each; read again when it changes."""
    admin_keys: str = ""
    """Who may load, unload and roll back models, in the same form; none: those operations are off."""
    admin_keys_file: Path | None = None
    """The same, a line each; read again when it changes."""
    metrics_need_key: bool = False
    """Whether /metrics, too, answers only to a key."""
    cors_origins: tuple[str, ...] = ()
    """Pages whose scripts may ask from a browser, as https://example.org; none by default."""
    tls_cert: Path | None = None
    """Certificate (PEM, with the chain above it) to serve HTTPS and gRPC over TLS; read again when it changes."""
    tls_key: Path | None = None
    """The certificate's private key (PEM, without a password)."""
    tls_client_ca: Path | None = None
    """Certificates (PEM) of those who sign clients'; with it, only clients with such a certificate are let in."""
    max_connections: int = Field(default=4096, ge=1)
    """Most open connections of one process; over it an idle one is closed, or the new one is answered 503."""
    max_header_bytes: int = Field(default=32 * 1024, ge=1024)
    """Largest head of a request: its line and its headers."""
    max_header_s: float = Field(default=10.0, gt=0)
    """Longest time in seconds that a request's head may take to arrive."""
    max_read_s: float = Field(default=30.0, gt=0)
    """Longest time in seconds that a client may leave an answer lying before the connection is cut."""
    keep_alive_s: float = Field(default=75.0, gt=0)
    """How long a connection may idle; longer than a load balancer keeps its own (often 60 s)."""
    max_json_elements: int = Field(default=5_000_000, ge=1)
    """Most values in a JSON body."""
    log_level: Literal["critical", "error", "warning", "info", "debug"] = "info"
    """How much is logged to standard error."""
    log_format: Literal["text", "json"] = "text"
    """A line for people, or a JSON object a line; with request ids, never with what was sent."""
    tracing: Literal["off", "console", "otlp"] = "off"
    """OpenTelemetry traces; otlp goes where the OTEL_EXPORTER_OTLP_* variables say."""
    nv_metrics: bool = False
    """Show the figures under Triton's names (nv_inference_*) too."""

    @property
    def own_threads(self) -> int:
        """Threads of each process."""
        return self.threads or max(1, available_cpus() // self.workers)


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
        default = "none" if field.default in (None, "", ()) else f"`{field.default}`"
        lines.append(f"| {flag} | `MODELYARD_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"
