"""MODEL_CARD.md: the manifest for people. Knows a manifest. Knows nothing of how it came about."""

from bundle.manifest import Artefact, Manifest


def model_card(manifest: Manifest, description: str) -> str:
    """Markdown: what it is, how to ask it, what proves it, where it comes from."""
    origin = manifest.provenance
    sections = [
        f"# {manifest.name}",
        description,
        f"Task: {manifest.task}. Input: {_specs(manifest.inputs)}, made from raw input by "
        f"`{manifest.preprocess.kind}`. Output: {_specs(manifest.outputs)}.",
        f"Its outputs are read by {_parameters(manifest)}.",
        "## Artefacts",
        _artefacts(manifest),
        "".join(f"- left out: **{one.artefact}**: {one.reason}\n" for one in manifest.left_out),
        "## Evidence",
        "\n\n".join(_checks(name, artefact) for name, artefact in manifest.artefacts.items()),
        "## Where it comes from",
        f"Recipe `{origin.recipe}`, seed {origin.seed}, code commit `{origin.commit}`; "
        f"data `{origin.data}` (sha256 `{origin.data_sha256}`). "
        + ", ".join(f"{name} {version}" for name, version in origin.versions.items())
        + ".",
    ]
    return "\n\n".join(section.rstrip("\n") for section in sections if section) + "\n"


def _parameters(manifest: Manifest) -> str:
    parameters = manifest.decode.model_dump(mode="json", exclude={"kind"})
    return "; ".join(
        f"{name.replace('_', ' ')} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in parameters.items()
    )


def _specs(specs: tuple) -> str:
    return ", ".join(f"`{spec.name}` {spec.dtype} {list(spec.shape)}" for spec in specs)


def _artefacts(manifest: Manifest) -> str:
    sizes = sorted({size for artefact in manifest.artefacts.values() for size in _latency(artefact)})
    header = " | ".join(f"ms, batch {size}" for size in sizes)
    lines = [
        f"| artefact | file | for | made | {header} | test metric | checkpoint |",
        "|---|---|---|---|" + "---|" * (len(sizes) + 2),
    ]
    for name, artefact in manifest.artefacts.items():
        latency = " | ".join(f"{_latency(artefact).get(size, float('nan')):.3g}" for size in sizes)
        default = " (default)" if name == manifest.default_artefact else ""
        figures = artefact.evidence.metric if artefact.evidence else {}
        metric = " | ".join(f"{value:.4f}" for value in figures.values())
        lines.append(
            f"| {name}{default} | {artefact.file} | {artefact.device} | {artefact.made} | {latency} | {metric} |"
        )
    return "\n".join([*lines, *_for_gpus(manifest)])


def _for_gpus(manifest: Manifest) -> list[str]:
    names = [f"**{name}**" for name, artefact in manifest.artefacts.items() if artefact.device == "cuda"]
    if not names:
        return []
    return [
        "",
        f"{' and '.join(names)}: to be proven on the device that serves (`modelyard prove`). All figures here, "
        "times too, were seen on a CPU, which only rehearses what a GPU computes.",
    ]


def _latency(artefact: Artefact) -> dict[int, float]:
    return artefact.evidence.latency.median_ms if artefact.evidence else {}


def _checks(name: str, artefact: Artefact) -> str:
    if artefact.evidence is None:
        return f"**{name}**: none."
    rows = "\n".join(
        f"| {check.kind} | {check.subject} | {check.value:.3g} | {check.limit:.3g} |"
        for check in artefact.evidence.checks
    )
    return (
        f"**{name}** against {artefact.evidence.proven_against}, on {artefact.evidence.device}, "
        f"{artefact.evidence.num_test_samples} test samples:\n\n"
        f"| check | of | found | limit |\n|---|---|---|---|\n{rows}"
    )
