"""A model of every task around the fake runtime, made in milliseconds."""

from pathlib import Path

from tests.builders import write_fake_task_bundle
from tests.conformance.examples import EXAMPLES, KINDS

FAMILIES = "classify,segment,detect,anomaly,series,text-classify,text-embed,openai,oip,grpc"


def write_models(repository: Path) -> Path:
    """One a task, named after it."""
    for task, example in EXAMPLES.items():
        kind = KINDS[example.preprocess.kind]
        raws = [(kind.media_type, raw) for raw in kind.raws]
        write_fake_task_bundle(repository, task, task, example.preprocess, example.decode, raws, kind.assets)
    return repository
