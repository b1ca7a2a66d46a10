"""The command line of bundles: `modelyard inspect`."""

from pathlib import Path
from typing import Annotated

import tyro

from bundle.manifest import Artefact, Manifest
from bundle.store import open_newest


def inspect_command(arguments: list[str]) -> None:
    """`modelyard inspect BUNDLE [--json]`."""
    tyro.cli(_inspect, prog="modelyard inspect", args=arguments)


def _inspect(
    bundle: tyro.conf.Positional[Path],
    /,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="print the manifest as it is")] = False,
) -> None:
    """Check a bundle as the service would, and show its manifest, artefacts and evidence.

    Args:
        bundle: folder of a bundle, <repository>/<name>/<version>; without the version, the newest
    """
    manifest = open_newest(bundle).manifest
    print(manifest.model_dump_json(indent=1) if json else _table(manifest))


def _table(manifest: Manifest) -> str:
    origin = manifest.provenance
    lines = [
        f"{manifest.name} version {manifest.version}: {manifest.task}",
        f"read by {manifest.decode.model_dump_json()}",
        f"digest {manifest.digest}",
        f"from recipe {origin.recipe}, data {origin.data}, commit {origin.commit}",
    ]
    for name, artefact in manifest.artefacts.items():
        default = ", served by default" if name == manifest.default_artefact else ""
        lines += ["", f"{name} ({artefact.file}{default}): {artefact.made}", *_device(artefact), *_evidence(artefact)]
    lines += ["", *(f"left out: {one.artefact}: {one.reason}" for one in manifest.left_out)]
    return "\n".join(lines).rstrip()


def _device(artefact: Artefact) -> list[str]:
    """What it was made for; nothing where it is for any."""
    if artefact.device == "cuda":
        return ["  for GPUs (cuda); to be proven on the device: modelyard prove; what follows was seen on a CPU"]
    return [f"  for {artefact.device}"] if artefact.device != "any" else []


def _evidence(artefact: Artefact) -> list[str]:
    if artefact.evidence is None:
        return ["  no evidence"]
    evidence = artefact.evidence
    figures = ", ".join(f"{who} {value:.4f}" for who, value in evidence.metric.items())
    latency = ", ".join(f"batch {size} {value:.3g} ms" for size, value in evidence.latency.median_ms.items())
    return [
        f"  proven against {evidence.proven_against}",
        f"  {evidence.metric_name} on {evidence.num_test_samples} test samples: {figures}",
        f"  {latency} (median, {evidence.latency.threads} thread, {evidence.measured_with.get('machine', '?')})",
        *(f"  {check}" for check in evidence.checks),
    ]
