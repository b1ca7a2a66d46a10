"""Who answers which request, as one thing that is replaced whole: no request ever sees half a change.

Knows names, versions and tasks. Knows nothing of how models come and go.
"""

from collections.abc import Iterable

from bundle.errors import ModelNotFound, ModelNotReady
from serving.repository.served import ServedModel
from serving.repository.slots import ModelState

Key = tuple[str, int | None]


class Routes:
    """What is served at one moment."""

    def __init__(
        self, models: Iterable[ModelState] = (), defaults: Iterable[ServedModel] = (), problem: str = ""
    ) -> None:
        """`defaults`: of each model the version that answers where none is asked for; `problem`: why there is none."""
        self.models = tuple(models)
        self.problem = problem
        self._by_name: dict[Key, ServedModel] = {(one.name, None): one for one in defaults}
        self._by_task: dict[str, list[ServedModel]] = {}
        for one in self._by_name.values():
            self._by_task.setdefault(one.manifest.task, []).append(one)
        self._only = {task: several[0] for task, several in self._by_task.items() if len(several) == 1}
        self._by_name |= {(model.name, model.version): model.served for model in self.models if model.served}

    def __bool__(self) -> bool:
        """Whether any model answers."""
        return bool(self._by_name)

    @property
    def answering(self) -> set[tuple[str, int]]:
        """Names and versions that answer."""
        return {(model.name, model.version) for model in self.models if model.served}

    def find(self, task: str | None, name: str | None, version: int | None) -> ServedModel:
        """The model that a request means; two look-ups where there is one.

        Raises:
            ModelNotFound: no such model, version, or none (or several) of the task. ModelNotReady: it does not answer.
        """
        if name is not None:
            found = self._by_name.get((name, version))
        else:
            found = self._only.get(task) if task is not None and version is None else None
        if found is not None and (task is None or found.manifest.task == task):
            return found
        if not self.models and self.problem:
            raise ModelNotReady(self.problem)
        if name is None:
            name = self._only_name(task)
        return self._named(task, name, version)

    def _named(self, task: str | None, name: str, version: int | None) -> ServedModel:
        known = [model for model in self.models if model.name == name]
        if not known:
            names = ", ".join(sorted({model.name for model in self.models}))
            raise ModelNotFound(f"no model '{name}'; there are {names or 'none'}")
        found = self._by_name.get((name, version))
        if found is None:
            raise self._silent(name, version, known)
        if task is not None and found.manifest.task != task:
            raise ModelNotFound(f"model '{name}' is for {found.manifest.task}, not for {task}")
        return found

    def _silent(self, name: str, version: int | None, known: list[ModelState]) -> ModelNotFound | ModelNotReady:
        for model in reversed(known):
            if version in (None, model.version):
                return ModelNotReady(f"model '{name}' version {model.version} does not answer: {model.reason}")
        served = [str(model.version) for model in known if model.served]
        if not served:
            return ModelNotFound(f"model '{name}' has no version {version} here; none is served")
        plural = f"versions {', '.join(served)} are" if len(served) > 1 else f"version {served[0]} is"
        return ModelNotFound(f"model '{name}' has no version {version} here; {plural} served")

    def _only_name(self, task: str | None) -> str:
        fitting = self._by_task.get(task, []) if task is not None else []
        if len(fitting) == 1:
            return fitting[0].name
        if fitting:
            names = ", ".join(sorted(model.name for model in fitting))
            raise ModelNotFound(f"several models are for {task}; add ?model= one of {names}")
        silent = "; ".join(f"{model.name}: {model.reason}" for model in self.models if not model.served)
        if silent and not self:
            raise ModelNotReady(f"no model for {task} is ready: {silent}")
        raise ModelNotFound(f"no model here is for {task}")
