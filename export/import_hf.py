"""A transformers folder -> the next version of a bundle, proven against the PyTorch model of the folder.

Knows the transformers library, which is imported here and nowhere else. Code that a folder brings along is never run,
its weights are never unpickled, and nothing is downloaded.
"""

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

os.environ["HF_HUB_OFFLINE"] = "1"  # the library reads it when it is imported

import transformers

from bundle.device import DeviceKind
from bundle.errors import BundleError, UnusableModel
from bundle.manifest import Manifest, Provenance
from bundle.preprocess import Limits, Prepare, TextTokens, load_preprocess
from bundle.spec import problems
from bundle.store import hashes, staging
from bundle.tasks import TASKS, Decode
from bundle.tasks.classification import ClassificationDecode
from bundle.tasks.sentence_embedding import SentenceEmbeddingDecode
from export.artefacts import ALL_DEVICES, REFERENCE, Made, make_artefacts
from export.evaluate import Reference
from export.hf_folder import HfFolder, read_hf_folder
from export.hf_graph import SentenceEncoder, TextClassifier, unpadded
from export.likeness import LIKENESS
from export.package import publish
from export.sample_texts import our_texts, read_texts
from export.samples import RawSamples
from export.say import say
from training.answers import answer, checkpoint_compute, output_names, prepare_all, record_golden
from training.checkpoint import code_commit, library_versions

WHAT = "the PyTorch model of the folder"
MAX_TOKENS = 512
"""Where the caller says nothing else: attention over more costs its square in memory, at every batch that is proven."""
MAX_GRAPH_BYTES = 2**31 - 2**24  # protobuf's limit for one file, less what the graph itself takes
OFFSET_POSITIONS = ("camembert", "mpnet", "roberta", "xlm-roberta")
"""They count positions from pad_token_id + 1, so fewer tokens fit than there are positions."""


@dataclass(frozen=True)
class _Model:
    """What was made of a folder."""

    source: HfFolder
    module: nn.Module
    tokenizer: Any
    preprocess: TextTokens
    decode: Decode


def import_hf(
    folder: Path,
    task_id: str,
    repository: Path,
    name: str | None = None,
    max_tokens: int | None = None,
    samples: Path | None = None,
    max_batch_size: int = 32,
    devices: Sequence[DeviceKind] = ALL_DEVICES,
) -> Path:
    """Import, prove and publish; returns the new bundle's folder. Artefacts are made for these devices.

    `samples` is a file with one text a line to prove it on; where it is None, texts of ours are used.

    Raises:
        UnusableModel: the folder is not one that can be imported. DataError: the samples cannot be read.
        ParityError: the fp32 artefact does not give the PyTorch model's answers.
    """
    if max_batch_size < 1:
        raise UnusableModel(f"max_batch_size is {max_batch_size}; a batch has at least 1 row")
    source = read_hf_folder(folder, task_id)
    texts = read_texts(samples) if samples else our_texts()
    name = folder.resolve().name if name is None else name
    with staging(repository, name) as staged:
        model = _load(source, task_id, max_tokens)
        tokenizer = staged / model.preprocess.tokenizer
        tokenizer.write_text(model.tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
        prepare = _prepare(model, staged)
        _check_tokens(model, prepare, texts)
        task, likeness = TASKS[task_id](model.decode), LIKENESS[task_id]
        compute = unpadded(checkpoint_compute(model.module, output_names(task, model.preprocess)))
        say(f"asking {WHAT} for its answers to {len(texts)} texts")
        texts = texts.answered([likeness.part(one) for one in answer(texts, prepare, compute, task)])
        golden = record_golden(staged, texts, prepare, compute, task)
        say(f"exporting to ONNX, and making artefacts for {' and '.join(devices) or 'no other device'}")
        made = _artefacts(model, staged, task_id, prepare, devices)
        draft = Manifest(
            name=name,
            version=1,
            task=task_id,
            inputs=model.preprocess.input_specs(),
            outputs=task.output_specs(model.preprocess),
            preprocess=model.preprocess,
            decode=model.decode,
            max_batch_size=max_batch_size,
            artefacts=made.artefacts,
            left_out=made.left_out,
            default_artefact=REFERENCE,
            golden=golden,
            reference={},
            provenance=_provenance(model, task_id, texts, samples),
            files=hashes(staged),
        )
        reference = Reference(WHAT, compute, texts, likeness.score, likeness.metric_name, "max")
        return publish(staged, repository, draft, reference, _describe(model))


def _load(source: HfFolder, task_id: str, max_tokens: int | None) -> _Model:
    """Model and tokenizer as the library reads them, and what a bundle says of them."""
    loader, finish = KINDS[task_id]
    tokenizer, model = _read(source, loader)
    if not tokenizer.is_fast:
        raise UnusableModel(f"{source.path}: its tokenizer is one in Python alone; only fast ones travel in a bundle")
    takes = set(tokenizer.model_input_names) & inspect.signature(model.forward).parameters.keys()
    num_pieces = model.get_input_embeddings().num_embeddings
    try:
        preprocess = TextTokens(
            vocab_size=num_pieces,
            max_tokens=_max_tokens(source, model.config, tokenizer, max_tokens),
            pad_id=next(i for i in (tokenizer.pad_token_id, model.config.pad_token_id, 0) if i is not None),
            token_type_ids="token_type_ids" in takes,
        )
        module, decode = finish(source, model, tuple(spec.name for spec in preprocess.input_specs()))
    except ValidationError as cause:
        raise UnusableModel(f"{source.path}: {problems(cause)}") from None
    return _Model(source, module, tokenizer, preprocess, decode)


def _read(source: HfFolder, loader: Any) -> tuple[Any, Any]:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            source.path, local_files_only=True, trust_remote_code=False
        )
        model, loading = loader.from_pretrained(
            source.path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="eager",  # exports to a simpler graph than the fused one, with the same answers
            output_loading_info=True,
        )
    except Exception as cause:
        raise UnusableModel(f"{source.path}: it cannot be loaded: {type(cause).__name__}: {cause}") from cause
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith("pooler."))  # which is never asked
    if missing:
        raise UnusableModel(
            f"{source.path}: its weights lack {', '.join(missing[:3])} ({len(missing)} tensors); "
            "they would be random numbers, so this is no finished model for the task"
        )
    num_bytes = sum(4 * parameter.numel() for parameter in model.parameters())
    if num_bytes > MAX_GRAPH_BYTES:
        raise UnusableModel(f"{source.path}: {num_bytes / 1e9:.1f} GB of weights; one ONNX file holds at most 2 GB")
    return tokenizer, model


def _sentence_encoder(source: HfFolder, model: Any, inputs: tuple[str, ...]) -> tuple[nn.Module, Decode]:
    decode = SentenceEmbeddingDecode(dim=model.config.hidden_size, normalised=source.normalised, pooling=source.pooling)
    return SentenceEncoder(model, inputs, source.pooling, source.normalised), decode


def _text_classifier(source: HfFolder, model: Any, inputs: tuple[str, ...]) -> tuple[nn.Module, Decode]:
    labels = tuple(str(model.config.id2label[i]) for i in range(model.config.num_labels))
    if len(set(labels)) < len(labels):
        raise UnusableModel(f"{source.path}/config.json: id2label names two labels alike: {', '.join(labels)}")
    return TextClassifier(model, inputs), ClassificationDecode(labels=labels)


KINDS = {
    "sentence-embedding": (transformers.AutoModel, _sentence_encoder),
    "text-classification": (transformers.AutoModelForSequenceClassification, _text_classifier),
}
"""Task -> what loads it, and what makes graph and decode parameters of it."""


def _max_tokens(source: HfFolder, config: Any, tokenizer: Any, asked: int | None) -> int:
    offset = config.pad_token_id + 1 if source.config["model_type"] in OFFSET_POSITIONS else 0
    most = config.max_position_embeddings - offset
    if asked is not None and asked > most:
        raise UnusableModel(f"max_tokens is {asked}; the model has positions for {most}")
    told = source.max_tokens or tokenizer.model_max_length
    return asked if asked is not None else min(told, most, MAX_TOKENS)


def _prepare(model: _Model, staged: Path) -> Prepare:
    try:
        return load_preprocess(model.preprocess, staged)
    except BundleError as cause:
        raise UnusableModel(str(cause).replace(str(staged), str(model.source.path))) from None


def _check_tokens(model: _Model, prepare: Prepare, texts: RawSamples) -> None:
    """Preparing must give the tokens that the library gives."""
    for i in range(len(texts)):
        text = texts.raw(i).decode()
        if len(text) > model.preprocess.max_chars:
            continue  # cut before it is tokenised, as the answer says
        asked = text.lower() if model.source.lower_case else text
        want = model.tokenizer(asked, truncation=True, max_length=model.preprocess.max_tokens)
        got = prepare(texts.raw(i), Limits()).tensors
        num_tokens = int(got["attention_mask"].sum())
        for spec in model.preprocess.input_specs():
            if not np.array_equal(got[spec.name][:num_tokens], want[spec.name]):
                raise UnusableModel(
                    f"{model.source.path}: {texts.name(i)}: tokenizer.json gives other {spec.name} than transformers"
                    f"{' after small letters, which sentence_bert_config.json asks for' * model.source.lower_case}"
                )


def _artefacts(model: _Model, staged: Path, task_id: str, prepare: Prepare, devices: Sequence[DeviceKind]) -> Made:
    """Calibrated on texts of ours always: those that it is proven on stay unseen, where their owner brought them."""
    texts = our_texts()
    rows = [one.tensors for one in prepare_all(texts, range(len(texts)), prepare)]
    inputs, outputs = model.preprocess.input_specs(), TASKS[task_id](model.decode).output_specs(model.preprocess)
    try:
        return make_artefacts(model.module, staged, task_id, inputs, outputs, rows, devices)
    except torch.onnx.OnnxExporterError as cause:
        raise UnusableModel(f"{model.source.path}: torch cannot export it to ONNX: {cause}") from cause


def _provenance(model: _Model, task_id: str, texts: RawSamples, samples: Path | None) -> Provenance:
    source = model.source
    return Provenance(
        recipe="import hf",
        arguments={
            "task": task_id,
            "model_type": source.config["model_type"],
            "max_tokens": model.preprocess.max_tokens,
            "licence": source.licence,
            "sha256": source.sha256(),
        },
        data=samples.name if samples else "sample texts of Modelyard",
        data_sha256=texts.sha256(),
        seed=0,
        commit=code_commit(),
        versions=library_versions() | {name: version(name) for name in ("tokenizers", "transformers")},
    )


def _describe(model: _Model) -> str:
    num_parameters = sum(parameter.numel() for parameter in model.module.parameters())
    return (
        f"Imported from a transformers folder: {model.source.config['model_type']}, {num_parameters:,} parameters. "
        f"Its licence, as its README tells: {model.source.licence}. "
        f"Texts are cut at {model.preprocess.max_tokens} tokens."
    )
