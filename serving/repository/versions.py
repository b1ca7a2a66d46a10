"""Which versions of a model answer: the policy of its settings, rollbacks and canaries, as sums over version numbers.

Knows numbers. Knows nothing of files, of loading or of requests.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from serving.repository.model_settings import Latest, ModelSettings, Specific, VersionPolicy

MAX_FALLBACKS = 3
"""Older versions that are tried where no wanted one is good; more would make a hopeless start a long one."""


@dataclass
class Decisions:
    """What people have decided while the service runs."""

    held: set[int] = field(default_factory=set)
    """Versions that a rollback turned away from."""
    promoted: set[int] = field(default_factory=set)
    """Canaries that were let answer."""

    def answer_with(self, version: int, there: Iterable[int]) -> None:
        """Turn away from every version that is there now and newer."""
        self.held = (self.held - {version}) | {other for other in there if other > version}


@dataclass(frozen=True)
class Division:
    """Versions by what they are for."""

    canary: int | None
    """The one that is compared."""
    on_trial: Set[int]
    """Those that do not answer by default, though they are newer."""
    stable: Set[int]
    """Those that may."""


def divide(
    settings: ModelSettings, decisions: Decisions, there: Set[int], ready: Set[int], default: int | None
) -> Division:
    """Who may answer by default, of versions that are there, and who is on trial, of those that are ready too.

    "next" means newer than the version that answers; when nothing answers yet, the newest is no canary but the answer.
    """
    open_to = set(there - decisions.held)
    nobody = Division(None, set(), open_to)
    chosen = settings.canary
    if chosen is None:
        return nobody
    if chosen.version != "next":
        is_one = chosen.version in there - decisions.promoted and len(there) > 1
        return Division(chosen.version, {chosen.version}, open_to - {chosen.version}) if is_one else nobody
    if default is None or min(open_to, default=default + 1) > default:
        return nobody
    newer = {version for version in (there | ready) - decisions.held if version > default}
    return Division(max(newer & there, default=None), newer, open_to - newer)


def wanted(policy: VersionPolicy, there: Iterable[int]) -> list[int]:
    """The versions to serve of those that are there, the newest first, which then answers before the others."""
    falling = sorted(there, reverse=True)
    match policy:
        case Latest(latest=number):
            return falling[:number]
        case Specific(specific=named):
            return [version for version in falling if version in named]
        case _:
            return falling


def missing(policy: VersionPolicy, there: Iterable[int]) -> list[int]:
    """Versions that the policy names and that are not there."""
    return sorted(set(policy.specific) - set(there)) if isinstance(policy, Specific) else []


def kept(policy: VersionPolicy, ready: Set[int], there: Set[int]) -> set[int]:
    """Which of the versions that answer go on answering.

    A version whose folder is gone goes once another one answers; where none that the policy names is good, whatever
    answers goes on: a bad version never takes a good one's place, and neither does nothing.
    """
    return set(wanted(policy, ready & there)) or set(ready if there else ())


def fallbacks(policy: VersionPolicy, there: Iterable[int]) -> list[int]:
    """Older versions to try in turn where no wanted one is good, so that a restart serves what ran before it."""
    if not isinstance(policy, Latest):
        return []
    return sorted(there, reverse=True)[policy.latest :][:MAX_FALLBACKS]


def before(policy: VersionPolicy, current: int, there: Iterable[int]) -> list[int]:
    """Versions that a rollback from `current` may go back to, the nearest first; of named ones where some are named."""
    allowed = set(there) & set(policy.specific) if isinstance(policy, Specific) else set(there)
    return sorted((version for version in allowed if version < current), reverse=True)
