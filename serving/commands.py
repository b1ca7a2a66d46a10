"""The command line of serving: `modelyard serve`."""

import gc
import logging
import shlex
import signal
import socket
import sys
import warnings
from pathlib import Path

import tyro
from pydantic import ValidationError

from bundle.errors import BadInput
from bundle.spec import problems
from serving.app import create_app
from serving.batching.placing import placing_of
from serving.endpoints import ENDPOINTS
from serving.http.listening import address, check_ports, listener, uvicorn_config
from serving.http.metrics_port import MetricsPort
from serving.observing.logs import configure
from serving.repository.memory import few_arenas
from serving.repository.slots import ModelState
from serving.settings import Settings
from serving.workers.drain import DrainingServer
from serving.workers.shared import Place
from serving.workers.workers import supervise

log = logging.getLogger("modelyard.serving")


def serve_command(arguments: list[str]) -> None:
    """`modelyard serve REPOSITORY [--host --port ...]`; every flag is also an environment variable MODELYARD_*."""
    settings = tyro.cli(Settings, prog="modelyard serve", args=arguments, default=_from_environment())
    gc.disable()  # until the models are there: what starting makes stays, and looking through it again takes time
    few_arenas(settings.own_threads)
    configure(settings.log_format, settings.log_level)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # a client's odd picture is answered; it is no news for the log
    check_ports(settings)
    placing_of(settings)  # told once, here, and not by each worker
    place = Place.given()
    if settings.workers > 1 and place is None:
        sys.exit(supervise(settings, arguments))
    sock = listener(settings.host, settings.port, shared=place is not None)
    watched_sock = _metrics_listener(settings, shared=place is not None)
    port = sock.getsockname()[1]  # the one that was given, or the free one that port 0 asks for
    where = address(settings.host, port, "https" if settings.tls_cert else "http")
    app = create_app(settings, on_loaded=lambda models: _announce(settings.repository, where, models))
    config = uvicorn_config(app, settings)
    # uvicorn drains on SIGTERM and then raises the signal again; a drained service has done what it was told: exit 0.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if place is None:
        log.info("listening on %s", where)
        if watched_sock is not None:
            log.info("metrics and health on %s", address(settings.host, watched_sock.getsockname()[1]))
    watched = MetricsPort(app.watchers, watched_sock) if watched_sock is not None else None
    DrainingServer(config, app.front, sock, settings.drain_s, app.beside, watched).run(sockets=[sock])


def _metrics_listener(settings: Settings, *, shared: bool) -> socket.socket | None:
    return None if settings.metrics_port is None else listener(settings.host, settings.metrics_port, shared=shared)


def _from_environment() -> Settings:
    try:
        return Settings()
    except ValidationError as cause:
        given = ", ".join(f"MODELYARD_{str(one['loc'][0]).upper()}={one['input']!r}" for one in cause.errors())
        raise BadInput(f"the environment holds a setting that is not allowed: {given}: {problems(cause)}") from None


def _announce(repository: Path, address: str, models: list[ModelState]) -> None:
    """Say what is served, with a line for each model that works when it is pasted."""
    for model in models:
        if model.served is None:
            continue  # the log has said why
        manifest = model.served.manifest
        sample = manifest.golden[0]
        file = Path(repository, model.name, str(model.version), sample.file)
        endpoint = ENDPOINTS[manifest.task]
        url = "&".join(filter(None, (f"{address}{endpoint.path}?model={model.name}", endpoint.example)))
        curl = ["curl", "-H", f"Content-Type: {sample.media_type}", "--data-binary", f"@{file}", url]
        if "format=png" in endpoint.example:
            curl += ["--output", f"{model.name}.png"]
        runs = f"{model.served.choice.artefact} in {model.served.choice.runtime}"
        print(
            f"\n{model.name} version {model.version} is ready ({runs}). Ask it:\n  {shlex.join(curl)}",
            flush=True,
        )
