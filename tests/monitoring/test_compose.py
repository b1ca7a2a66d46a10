"""docker/compose.yaml says what is: its files, variables, ports and flags exist, and nothing in it is privileged."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile import read

from k8s.monitoring.check import config
from serving.settings import Settings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker/compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SCRAPED = yaml.safe_load((ROOT / "docker/compose/prometheus.yml").read_text(encoding="utf-8"))


def test_the_four_of_them_are_there() -> None:
    assert list(SERVICES) == ["server", "prometheus", "grafana", "locust"]


@pytest.mark.parametrize("name", SERVICES)
def test_nobody_may_more_than_he_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "pid", "network_mode", "user", "devices"}
    assert all(port.startswith("127.0.0.1:") for port in service["ports"]), "open on this machine alone"
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"]), "a tag that is a version"
    assert service["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_exists_and_is_read_only_or_a_volume(name: str) -> None:
    for mount in SERVICES[name]["volumes"]:
        mount = mount.replace("${MODELS:-../models}", "MODELS")
        source, _, mode = mount.partition(":")[0], *mount.partition(":")[2].partition(":")[::2]
        if source.startswith("."):
            assert (FILE.parent / source).resolve().is_file(), source
        else:
            assert source == "MODELS" or source in COMPOSE["volumes"]
        assert mode == "ro" or source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", ["server", "locust"])
def test_what_is_built_here_has_a_dockerfile_of_that_name(name: str) -> None:
    service = SERVICES[name]
    file = FILE.parent / service["build"]["context"] / service["build"]["dockerfile"]
    assert read(file)[-1].labels["org.opencontainers.image.title"] == service["image"].partition(":")[0]


def test_the_server_is_set_up_with_settings_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    image = read(ROOT / "docker/Dockerfile.serving-cpu")[-1]
    for variable, value in (image.environment | SERVICES["server"]["environment"]).items():
        if variable.startswith("MODELYARD_"):
            assert variable.removeprefix("MODELYARD_").lower() in Settings.model_fields
            monkeypatch.setenv(variable, value)
    settings = Settings()
    inside = {port.rpartition(":")[2] for port in SERVICES["server"]["ports"]}
    assert inside == {str(settings.port), str(settings.grpc_port)}
    (job,) = SCRAPED["scrape_configs"]
    assert job == {"job_name": "modelyard", "static_configs": [{"targets": [f"server:{settings.metrics_port}"]}]}
    assert f"127.0.0.1:{settings.metrics_port}/v2/health/ready" in SERVICES["server"]["healthcheck"]["test"][-1]
    assert settings.drain_s < int(SERVICES["server"]["stop_grace_period"].removesuffix("s"))


def test_locust_is_given_options_that_its_file_knows() -> None:
    options = (ROOT / "loadtests/traffic/options.py").read_text(encoding="utf-8")
    command = SERVICES["locust"]["command"]
    flags = [word for word in command if word.startswith("--")]
    known = {"--host", "--stop-timeout"} | set(re.findall(r'"(--[a-z-]+)"', options))
    assert set(flags) <= known
    values = dict(zip(command[::2], command[1::2], strict=True))
    assert values["--host"] == f"http://server:{Settings.model_fields['port'].default}"
    assert values["--grpc-host"].startswith("server:")
    assert f":{values['--bundles']}:ro" in SERVICES["locust"]["volumes"][0]


def test_prometheus_and_grafana_find_what_is_mounted_for_them() -> None:
    targets = {mount.split(":")[-2] for mount in SERVICES["prometheus"]["volumes"] if mount.endswith(":ro")}
    assert set(SCRAPED["rule_files"]) <= targets
    assert f"--config.file={'/etc/prometheus/prometheus.yml'}" in SERVICES["prometheus"]["command"]
    assert "/etc/prometheus/prometheus.yml" in targets
    dashboards = yaml.safe_load((ROOT / "docker/compose/grafana/dashboards.yaml").read_text(encoding="utf-8"))
    folder = dashboards["providers"][0]["options"]["path"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    mounted = {mount.split(":")[-2] for mount in SERVICES["grafana"]["volumes"] if mount.endswith(":ro")}
    assert home.startswith(f"{folder}/")
    assert home in mounted
    source = yaml.safe_load((ROOT / "docker/compose/grafana/datasource.yaml").read_text(encoding="utf-8"))[
        "datasources"
    ][0]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == SCRAPED["global"]["scrape_interval"]


def test_grafana_is_the_one_that_the_builders_are_for() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    built_for = re.search(r"^grafana_foundation_sdk==\d+!(\d+\.\d+)", pins, re.MULTILINE)
    assert built_for
    assert SERVICES["grafana"]["image"].startswith(f"grafana/grafana:{built_for[1]}.")


def test_the_rehearsal_uses_this_configuration_with_other_hosts_and_intervals() -> None:
    used = config({"alone": 1, "fleet": 2, "job": 3})
    assert used.keys() == SCRAPED.keys()
    assert [job["job_name"] for job in used["scrape_configs"]] == ["modelyard", "modelyard-batch"]
    assert used["scrape_configs"][0].keys() == SCRAPED["scrape_configs"][0].keys()
