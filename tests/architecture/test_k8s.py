"""Manifests of batch jobs say what is: flags, variables, ports, paths, exit codes, images, users are the code's."""

import json
import re
import subprocess
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile import read

import modelyard
from k8s import trees
from scoring import commands
from tests.architecture.manifests import NAMESPACE, ROOT, built, extras_of, needs_kubectl
from tests.builders import png

K8S = ROOT / "k8s"
BATCH = K8S / "batch"
SCORE_FLAGS = typing.get_type_hints(commands._score)
TREES = [name for name in trees.trees() if name.startswith(("batch/", "model-volume", "namespace"))]
JOBS = ("job/job.yaml", "cronjob/cronjob.yaml", "rayjob/rayjob.yaml")


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((BATCH / name).read_text(encoding="utf-8"))
    return found


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for template in trees.pod_templates(document) for one in template["spec"]["containers"]]


def variables() -> dict[str, str]:
    """What score.env gives every container."""
    lines = (BATCH / "common/score.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def script() -> str:
    return (BATCH / "rayjob/score.sh").read_text(encoding="utf-8")


def words(document: dict[str, Any]) -> list[str]:
    """The command line as the manifest writes it, without `modelyard score`, variables as $(NAME)."""
    if document["kind"] == "RayJob":
        (entry,) = re.findall(r"^exec (.+)$", script().replace("\\\n", ""), re.MULTILINE)
        entry = re.sub(r'"\$(\w+)"', r"$(\1)", entry)
        assert "$" not in re.sub(r"\$\(\w+\)", "", entry), "a variable without quotes"
        program, command, *rest = entry.split()
        assert (program, command) == ("modelyard", "score")
        return rest
    command, *rest = containers(document)[0]["args"]
    assert command == "score"
    return rest


def filled(document: dict[str, Any], values: dict[str, str]) -> list[str]:
    """The command line as a container sees it; a variable that nobody sets is an error, as it is not in Kubernetes."""
    return [re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], word) for word in words(document)]


@pytest.mark.parametrize("name", JOBS)
def test_the_command_line_of_a_manifest_is_one_that_score_takes(
    name: str, fake_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "in"
    pictures.mkdir()
    (pictures / "0.png").write_bytes(png(seed=0))
    own = {"SCORE_BUNDLE": str(fake_repository / "fake"), "SCORE_INPUT": str(pictures), "JOB_NAME": "tonight"}
    values = variables() | own | {"SCORE_OUTPUT": str(tmp_path / "out")}
    arguments = filled(manifest(name), values)
    modelyard.main(["score", *arguments, "--dry-run"])
    said = capsys.readouterr().out
    assert "input    1 rows" in said
    assert str(tmp_path / "out") in said


@pytest.fixture
def fake_repository(fake_bundle: Any) -> Path:
    folder: Path = fake_bundle.folder.parents[1]
    return folder


@pytest.mark.parametrize("name", JOBS)
def test_the_port_of_metrics_is_the_same_wherever_it_is_named(name: str) -> None:
    document = manifest(name)
    arguments = words(document)
    port = int(arguments[arguments.index("--metrics-port") + 1])
    template = next(trees.pod_templates(document["spec"].get("rayClusterSpec", document)))
    ports = template["spec"]["containers"][0]["ports"]
    assert port in [one["containerPort"] for one in ports if "metrics" in one["name"]]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(port)
    policy = manifest("common/networkpolicy.yaml")["spec"]["ingress"]
    assert [one["port"] for rule in policy for one in rule["ports"]] == [port]
    assert f"--metrics-port {port}" in (ROOT / "docs/scoring.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["job/job.yaml", "cronjob/cronjob.yaml"])
def test_what_would_fail_again_is_not_tried_again(name: str) -> None:
    spec = manifest(name)["spec"]
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    stop, ignore = spec["podFailurePolicy"]["rules"]
    usage = 2  # of every command, as docs/scoring.md says
    assert stop["onExitCodes"]["values"] == [usage, commands.EXIT_TOO_MANY_ERRORS, commands.EXIT_OUTPUT_TAKEN]
    assert (stop["action"], stop["onExitCodes"]["operator"]) == ("FailJob", "In")
    assert stop["onExitCodes"]["containerName"] in [one["name"] for one in spec["template"]["spec"]["containers"]]
    assert ignore["action"] == "Ignore"
    assert spec["template"]["spec"]["restartPolicy"] == "Never", "a policy for failures asks for it"
    assert spec["podReplacementPolicy"] == "Failed", "an output has one writer"


def test_wrong_usage_really_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        modelyard.main(["score", "bundle", "input", "output", "--no-such-flag"])
    assert ended.value.code == 2
    assert "--no-such-flag" in capsys.readouterr().err


def test_the_cron_job_does_what_the_job_does_into_a_folder_of_its_own_each_time() -> None:
    once, nightly = manifest("job/job.yaml")["spec"], manifest("cronjob/cronjob.yaml")["spec"]
    assert nightly["concurrencyPolicy"] == "Forbid"
    each = nightly["jobTemplate"]["spec"]
    container = each["template"]["spec"]["containers"][0]
    (name,) = container.pop("env")
    assert name["name"] == "JOB_NAME"
    assert "job-name" in name["valueFrom"]["fieldRef"]["fieldPath"]
    container["args"] = [word.removesuffix("/$(JOB_NAME)") for word in container["args"]]
    assert each == once


def test_every_variable_is_used_or_one_of_the_stores_own() -> None:
    used = {name for job in JOBS for word in words(manifest(job)) for name in re.findall(r"\$\((\w+)\)", word)}
    given = set(variables())
    assert used - given == {"JOB_NAME"}
    page = (ROOT / "docs/scoring.md").read_text(encoding="utf-8")
    for name in given - used:
        assert f"`{name}`" in page, f"{name}: docs/scoring.md does not say that a store reads it"
    comments = re.findall(r"AWS_\w+", "".join((BATCH / job).read_text(encoding="utf-8") for job in JOBS))
    assert {name for name in comments if name != "AWS_SECRET_ACCESS_KEY" and f"`{name}`" not in page} == set()


@needs_kubectl
@pytest.mark.parametrize("tree", TREES)
def test_every_image_is_one_that_a_dockerfile_says_how_to_build(tree: str) -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    assert version
    for document in built(tree):
        for container in containers(document):
            extras = extras_of(container["image"])
            assert extras, container["image"]
            assert container["image"].partition(":")[2].startswith(version[1])
            assert ("scoring-ray" in extras) == (document["kind"] == "RayJob")
            assert ("gpu" in extras) == ("-gpu" in tree)
            known = set(re.findall(r"^([\w-]+) = \[", pyproject, re.MULTILINE))
            assert set(extras) <= known


@needs_kubectl
@pytest.mark.parametrize("tree", TREES)
def test_every_pod_is_the_images_user_and_may_nothing(tree: str) -> None:
    last = read(ROOT / "docker/Dockerfile.scoring")[-1]
    user, group = map(int, last.other["USER"].split(":"))
    for template in (one for document in built(tree) for one in trees.pod_templates(document)):
        spec = template["spec"]
        context = spec["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"], context["runAsNonRoot"]) == (user, group, True)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert "emptyDir" in volumes[mounts[last.environment["HOME"]]], "what programs write goes to HOME"


def test_models_lie_where_score_is_told_and_cannot_be_written() -> None:
    root = next(iter(Path(variables()["SCORE_BUNDLE"]).parents[:-1]))
    claim = yaml.safe_load((K8S / "model-volume/claim.yaml").read_text(encoding="utf-8"))["metadata"]["name"]
    for name in JOBS:
        for template in trees.pod_templates(manifest(name)):
            if template["spec"]["containers"][0]["name"] == "ray-job-submitter":
                continue  # hands the job in, and never opens a bundle
            (mount,) = [one for one in template["spec"]["containers"][0]["volumeMounts"] if one["name"] == "models"]
            assert (mount["mountPath"], mount["readOnly"]) == (str(root), True)
            (volume,) = [one for one in template["spec"]["volumes"] if one["name"] == "models"]
            assert volume["persistentVolumeClaim"] == {"claimName": claim, "readOnly": True}


@needs_kubectl
@pytest.mark.parametrize("tree", TREES)
def test_everything_is_in_one_namespace_and_every_reference_leads_somewhere(tree: str) -> None:
    documents = built(tree)
    names = {(one["kind"], one["metadata"]["name"]) for one in documents}
    placed = {one["metadata"].get("namespace") for one in documents if one["kind"] != "Namespace"}
    assert placed <= {NAMESPACE}
    assert {name for kind, name in names if kind == "Namespace"} <= {NAMESPACE}
    templates = [template for document in documents for template in trees.pod_templates(document)]
    for template in templates:
        account = template["spec"].get("serviceAccountName")
        assert account is None or ("ServiceAccount", account) in names
        for source in (one for container in template["spec"]["containers"] for one in container.get("envFrom", [])):
            assert "secretRef" in source or ("ConfigMap", source["configMapRef"]["name"]) in names
    selectors = [
        one["spec"]["podSelector"]["matchLabels"].items() for one in documents if one["kind"] == "NetworkPolicy"
    ]
    labels = [template["metadata"]["labels"].items() for template in templates]
    assert all(any(wanted <= one for wanted in selectors) for one in labels), "a pod that may talk to everybody"
    assert not labels or all(any(wanted <= one for one in labels) for wanted in selectors), "a policy for nobody"


@needs_kubectl
@pytest.mark.parametrize("tree", ["batch/job-gpu", "batch/rayjob-gpu"])
def test_on_a_gpu_every_pod_that_opens_a_bundle_has_one_and_is_told_so(tree: str) -> None:
    documents = built(tree)
    (settings,) = [
        one for one in documents if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "modelyard-score"
    ]
    assert settings["data"]["SCORE_DEVICE"] == "cuda"
    assert set(variables()) == set(settings["data"])
    assert {"cpu", "cuda"} == set(typing.get_args(SCORE_FLAGS["device"]))
    opening = [
        one
        for document in documents
        for one in trees.pod_templates(document)
        if "envFrom" in one["spec"]["containers"][0]
    ]
    assert opening
    for template in opening:
        assert template["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert [one["key"] for one in template["spec"]["tolerations"]] == ["nvidia.com/gpu"]


@needs_kubectl
@pytest.mark.parametrize("tree", ["batch/rayjob", "batch/rayjob-gpu"])
def test_an_actor_fits_into_a_worker(tree: str) -> None:
    (job,) = [one for one in built(tree) if one["kind"] == "RayJob"]
    arguments = words(job)
    cpus = arguments[arguments.index("--workers") + 1]
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == cpus
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == (cpus if "gpu" in tree else "0")


@needs_kubectl
def test_the_entrypoint_of_the_ray_job_is_the_script_that_its_head_finds() -> None:
    documents = built("batch/rayjob")
    (job,) = [one for one in documents if one["kind"] == "RayJob"]
    shell, path = job["spec"]["entrypoint"].split()  # plain words: submitters quote them
    spec = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    source = volumes[mounts[str(Path(path).parent)]]["configMap"]["name"]
    (found,) = [one for one in documents if one["kind"] == "ConfigMap" and one["metadata"]["name"] == source]
    assert found["data"] == {Path(path).name: script()}
    assert subprocess.run([shell, "-n"], input=script(), text=True, check=False).returncode == 0


def test_the_cluster_runs_the_ray_that_the_image_has() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"ray=={manifest('rayjob/rayjob.yaml')['spec']['rayClusterSpec']['rayVersion']}" in pins
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    asked = re.search(r'"ray\[([\w,]+)\]', pyproject)
    assert asked
    assert "default" in asked[1].split(","), "without it Ray takes no jobs, and RayJobs are handed in as such"


def test_the_schema_of_ray_jobs_refuses_what_is_misspelt() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema comes with schemathesis, of the dev extra")
    validator = jsonschema.Draft7Validator(json.loads((K8S / "schemas/rayjob.json").read_text(encoding="utf-8")))
    document = manifest("rayjob/rayjob.yaml")
    assert list(validator.iter_errors(document)) == []
    document["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicaz"] = 3
    del document["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]
    said = " ".join(error.message for error in validator.iter_errors(document))
    assert "replicaz" in said
    assert "rayStartParams" in said


def test_every_skipped_check_has_a_reason() -> None:
    skips = yaml.safe_load((K8S / "skipped-checks.yaml").read_text(encoding="utf-8"))
    assert skips
    for skip in skips:
        assert re.fullmatch(r"CKV2?_K8S_\d+", skip["check"])
        assert skip["of"]
        assert len(skip["why"].split()) > 3, skip["check"]
