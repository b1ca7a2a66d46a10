"""The models of a repository: each is checked, loaded and replayed before it answers, or refused with the reason.

Knows bundles and predictors. Knows nothing of HTTP. One model's refusal never touches another.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bundle.errors import BundleError, ModelNotFound, ModelNotReady, ModelyardError
from bundle.store import Bundle, names, open_bundle, versions
from runtime.replay import replay
from serving.model_settings import read_model_settings
from serving.served import ServedModel, Serving

log = logging.getLogger("modelyard.serving")


def bring_up(bundle: Bundle, serving: Serving) -> ServedModel:
    """Load a checked bundle in every layout it will run in, and replay its golden samples in each.

    Raises:
        ModelyardError: it cannot be loaded, or does not give the checkpoint's answers.
    """
    served = ServedModel(bundle, read_model_settings(bundle.folder.parent), serving)
    artefact = bundle.manifest.artefacts[bundle.manifest.default_artefact]
    golden = bundle.golden()
    for predictor in filter(None, (served.predictor, served.wide)):
        replay(predictor, golden, artefact.atol)
        for size in served.batch_ladder():
            predictor.run_batch([golden[0].inputs] * size)
    return served


@dataclass(frozen=True)
class Model:
    """One model version and whether it answers."""

    name: str
    version: int
    state: Literal["loading", "ready", "refused"]
    reason: str = ""
    """Why it does not answer; empty when ready."""
    served: ServedModel | None = None
    """There when ready."""


class ModelRepository:
    """The newest version of every model in a folder."""

    def __init__(self, folder: Path, serving: Serving) -> None:
        self._folder = folder
        self._serving = serving
        self._models: dict[str, Model] = {}
        self._problem = "the repository has not been read yet"

    @property
    def models(self) -> list[Model]:
        """All models, by name."""
        return [self._models[name] for name in sorted(self._models)]

    def load(self, on_change: Callable[[Model], None]) -> None:
        """Read the folder and bring up every model; blocks until all are ready or refused."""
        try:
            newest = {name: max(versions(self._folder, name), default=0) for name in names(self._folder)}
        except (ModelyardError, OSError) as cause:
            self._problem = f"{cause}; `modelyard export --repository` makes such a folder"
            log.error("%s", self._problem)
            return
        if not newest:
            self._problem = f"{self._folder} holds no models; make one with `modelyard export`"
            log.error("%s", self._problem)
            return
        # One assignment, then the problem: no request sees half a list, or an empty one that looks decided.
        self._models = {
            name: Model(name, version, "loading", "it is being loaded and proven") for name, version in newest.items()
        }
        self._problem = ""
        for model in self.models:
            self._models[model.name] = self._bring_up(model)
            on_change(self._models[model.name])

    def _bring_up(self, model: Model) -> Model:
        folder = self._folder / model.name / str(model.version)
        try:
            if not model.version:
                raise BundleError(f"{folder.parent}: it holds no version: a folder whose name is a positive integer")
            bundle = open_bundle(folder)
            artefact = bundle.manifest.artefacts[bundle.manifest.default_artefact]
            served = bring_up(bundle, self._serving)
        except ModelyardError as cause:
            log.error("model '%s' is refused: %s", model.name, cause)
            return replace(model, state="refused", reason=str(cause))
        except Exception as cause:  # whatever one model's files provoke, the others must still come up
            log.exception("model '%s' is refused", model.name)
            return replace(model, state="refused", reason=f"{folder}: unforeseen: {type(cause).__name__}: {cause}")
        log.info("model '%s' version %d is ready (%s)", model.name, model.version, artefact.file)
        return replace(model, state="ready", reason="", served=served)

    def not_live_because(self) -> str:
        """Why the process should be ended, or ""."""
        return ""

    def not_ready_because(self) -> str:
        """Why the service should not get traffic, or "": everything is decided and at least one model answers."""
        loading = [model.name for model in self.models if model.state == "loading"]
        if self._problem or loading:
            return self._problem or f"loading {', '.join(loading)}"
        if any(model.state == "ready" for model in self.models):
            return ""
        return "; ".join(f"{model.name}: {model.reason}" for model in self.models)

    def find(self, task: str, name: str | None, version: int | None) -> ServedModel:
        """The model that a request means; the name may be left out where one model of the task is there.

        Raises:
            ModelNotFound: no such model, version, or none (or several) of the task. ModelNotReady: it does not answer.
        """
        if not self._models and self._problem:
            raise ModelNotReady(self._problem)
        model = self._named(name) if name is not None else self._only(task)
        if version not in (None, model.version):
            raise ModelNotFound(
                f"model '{model.name}' has no version {version} here; version {model.version} is served"
            )
        if model.served is None:
            raise ModelNotReady(f"model '{model.name}' version {model.version} does not answer: {model.reason}")
        if model.served.manifest.task != task:
            raise ModelNotFound(f"model '{model.name}' is for {model.served.manifest.task}, not for {task}")
        return model.served

    def _named(self, name: str) -> Model:
        if name not in self._models:
            raise ModelNotFound(f"no model '{name}'; there are {', '.join(sorted(self._models)) or 'none'}")
        return self._models[name]

    def _only(self, task: str) -> Model:
        fitting = [model for model in self.models if model.served and model.served.manifest.task == task]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise ModelNotFound(
                f"several models are for {task}; add ?model= one of {', '.join(m.name for m in fitting)}"
            )
        reason = self.not_ready_because()
        if reason:
            raise ModelNotReady(f"no model for {task} is ready: {reason}")
        raise ModelNotFound(f"no model here is for {task}")
