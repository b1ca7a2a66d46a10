"""One model's versions: which are brought up, which one answers, which go; a bad one never takes a good one's place.

Everything here happens on the event loop, one operation at a time a model; the work itself is done by `bring_up`.
Knows versions and their states. Knows nothing of requests, polling or other models.
"""

import asyncio
import logging
from collections.abc import Set
from pathlib import Path

from bundle.errors import BundleError, DeviceLost, ModelNotFound, ModelNotReady
from serving.batching.call import now
from serving.observing.canary import Shadow
from serving.repository.bring_up import bring_up, is_served, tell_what_runs, why
from serving.repository.drains import Drains
from serving.repository.hands import Stopped
from serving.repository.model_settings import FILE as SETTINGS_FILE
from serving.repository.model_settings import ModelSettings, read_model_settings
from serving.repository.scan import GONE, Fingerprint, Found
from serving.repository.served import ServedModel
from serving.repository.slots import LOADING, ModelState, Proven, Slot, no_bundle, not_there, unreadable
from serving.repository.versions import Decisions, Division, before, divide, fallbacks, kept, missing, wanted
from serving.repository.yard import Yard

RETRY_S = 300.0
"""A refused version whose folder stays as it is gets another chance now and then: memory may have been short."""

log = logging.getLogger("modelyard.serving")


class Shelf:
    """The versions of one model."""

    def __init__(self, name: str, yard: Yard) -> None:
        self.name = name
        self.slots: dict[int, Slot] = {}
        self.settings = ModelSettings()
        self._division = Division(None, set(), set())
        self.shadow: Shadow | None = None
        self._folder = yard.folder / name
        self._yard = yard
        self._settings_seen: Fingerprint | None = None
        self._problem = ""
        """What is wrong with its settings."""
        self._found = GONE
        self._lock = asyncio.Lock()
        self._unloaded = False
        self._decisions = Decisions()
        self.drains = Drains(yard.hands, self._drained)

    @property
    def ready(self) -> dict[int, Proven]:
        """The versions that answer."""
        return {slot.version: slot.proven for slot in self.slots.values() if slot.proven is not None}

    @property
    def default(self) -> int | None:
        """The version that answers where none is asked for."""
        return max(self.ready.keys() - self._division.on_trial, default=None)

    @property
    def canary(self) -> int | None:
        """The version that is compared, and never answers by default."""
        return self._division.canary

    def is_on_trial(self, version: int) -> bool:
        """Whether it may be wrong without harm."""
        return version in self._division.on_trial

    def shown(self) -> list[ModelState]:
        """All its versions as everybody sees them."""
        also = f"its settings are those from before: {self._problem}" if self._problem else ""
        return [self.slots[version].shown(self.name, also) for version in sorted(self.slots)]

    def retry_due(self) -> bool:
        """Whether a refused version has waited long enough for another chance."""
        refused = [slot for slot in self.slots.values() if slot.state == "refused" and slot.seen is not None]
        return not self._unloaded and any(now() - slot.tried_at > RETRY_S for slot in refused)

    def expect(self, found: Found) -> None:
        """Show what is about to be loaded, before it is."""
        for version in wanted(self.settings.version_policy, found.versions):
            self.slots.setdefault(version, Slot(version))
        self._show_what_is_missing(found)

    async def follow(self, found: Found) -> None:
        """Bring what is served into line with what lies there; an unloaded model stays as it is."""
        async with self._lock:
            if found.problem:
                self._stay(found)
            elif not self._unloaded:
                await self._follow(found, again=False)

    async def load(self, found: Found) -> None:
        """The same, whatever was decided before: unloaded, rolled back, refused, or served already.

        Raises:
            ModelNotReady: the version that should answer is refused.
        """
        async with self._lock:
            self._unloaded = False
            self._decisions = Decisions()
            stable = await self._follow(found, again=True)
            newest = next(iter(wanted(self.settings.version_policy, stable)), None)
            slot = self.slots.get(newest or 0)
            told = slot.reason if slot else f"{self._folder}: there is no version to serve"
            if newest is None or told:
                raise ModelNotReady(f"failed to load '{self.name}': {told}{self._still_answers()}")

    async def unload(self, patience_s: float) -> None:
        """Take every version away; what is queued is answered. Returns when that is done, or patience ends."""
        async with self._lock:
            self._unloaded = True
            for slot in self.slots.values():
                self._retire(slot, "unloaded; load it to have it back")
            self._yard.changed()
        await self.drains.over(patience_s)

    async def roll_back(self, found: Found) -> int:
        """Serve the nearest older version that is good, and turn away from all newer ones that are there now.

        Raises:
            ModelNotFound: there is none. ModelNotReady: none is good.
        """
        async with self._lock:
            current = self.default
            if current is None:
                raise ModelNotReady(f"failed to roll back '{self.name}': it does not answer; load it instead")
            older = before(self.settings.version_policy, current, found.versions.keys() - {self.canary})
            for version in older:
                if await self._stage(version, found, again=False):
                    self._decisions.answer_with(version, found.versions.keys() - {self.canary})
                    self._settle(found)
                    return version
            if not older:
                raise ModelNotFound(f"failed to roll back '{self.name}': there is no version before {current}")
            reasons = "; ".join(f"version {version}: {self.slots[version].reason}" for version in older)
            raise ModelNotReady(f"failed to roll back '{self.name}': {reasons}{self._still_answers()}")

    async def promote(self, found: Found) -> int:
        """Let the canary answer.

        Raises:
            ModelNotFound: there is no canary. ModelNotReady: it does not answer.
        """
        async with self._lock:
            version = self.canary
            if version is None:
                raise ModelNotFound(f"model '{self.name}' has no canary to promote; {SETTINGS_FILE} may name one")
            if version not in self.ready:
                raise ModelNotReady(f"the canary of '{self.name}' cannot answer: {self.slots[version].reason}")
            self._decisions.promoted.add(version)
            self._decisions.answer_with(version, found.versions)
            self._division = Division(None, set(), set())
            self._settle(found)
            return version

    async def _follow(self, found: Found, again: bool) -> Set[int]:
        """Returns the versions that may answer by default."""
        again |= await self._read_settings(found)
        if self._problem and not self.ready:
            self.slots = {slot.version: slot for slot in [unreadable(found, self._problem)]}
            self._publish()
            return set()
        self.slots = {n: one for n, one in self.slots.items() if one.seen is not None or one.state != "refused"}
        stable = self._divide(found)
        policy = self.settings.version_policy
        for version in wanted(policy, stable):
            await self._stage(version, found, again)
        if self.default is None:
            for version in fallbacks(policy, stable):
                if await self._stage(version, found, again):
                    break
        if self.canary is not None:
            await self._stage(self.canary, found, again)
        self._settle(found)
        return stable

    def _stay(self, found: Found) -> None:
        """Nobody can look into the folder: what answers goes on, and nothing else is there."""
        log.error("model '%s': %s%s", self.name, found.problem, self._still_answers())
        if not self.ready:
            self.slots = {0: unreadable(found, found.problem)}
            self._yard.metrics.load_failure(self.name)
            self._publish()

    def _divide(self, found: Found) -> Set[int]:
        """Decide anew who is compared and who may answer, which is returned."""
        there, ready = found.versions.keys(), self.ready.keys()
        self._division = divide(self.settings, self._decisions, there, ready, self.default)
        return self._division.stable

    async def _read_settings(self, found: Found) -> bool:
        """Whether how versions are served has changed; bad settings leave those in force as they are."""
        if found.settings == self._settings_seen:
            return False
        self._settings_seen = found.settings
        try:
            settings = await self._yard.hands.prove(read_model_settings, self._folder)
        except BundleError as cause:
            log.error("model '%s': %s", self.name, cause)
            self._problem = str(cause)
            self._yard.metrics.load_failure(self.name)
            return False
        self._problem = ""
        old, self.settings = self.settings, settings
        chosen = {"version_policy", "canary"}  # these choose versions, the others say how each is run
        return old.model_dump(exclude=chosen) != settings.model_dump(exclude=chosen)

    async def _stage(self, version: int, found: Found, again: bool) -> bool:
        """Bring a version up if its folder is news, and swap it in; whether it answers now."""
        slot = self.slots.setdefault(version, Slot(version))
        seen = found.versions[version]
        decided = slot.proven is not None or (slot.state == "refused" and now() - slot.tried_at < RETRY_S)
        if slot.seen == seen and decided and not again:
            return slot.proven is not None
        slot.seen, slot.tried_at = seen, now()
        folder = self._folder / str(version)
        if slot.proven is None:
            slot.state, slot.reason = "loading", LOADING
            self._yard.changed()
        try:
            if slot.proven is not None and not again and await self._is_served(slot.proven.served, folder):
                slot.reason = ""
                return True
            proven = await bring_up(folder, self.settings, self._yard.serve, self._yard.hands)
        except Stopped:
            raise
        except Exception as cause:  # noqa: BLE001 - whatever one version's files provoke, the others go on
            self._refuse(slot, why(folder, cause))
            if isinstance(cause, DeviceLost):
                self._yard.device_lost(slot.reason)
            return slot.proven is not None
        old, slot.proven = slot.proven, proven
        slot.state, slot.reason = "ready", ""
        self._publish()
        log.info("model '%s' version %d is ready", self.name, version)
        tell_what_runs(proven.served, self._yard.metrics)
        if old is not None:
            self.drains.begin(old, slot)
        return True

    async def _is_served(self, served: ServedModel, folder: Path) -> bool:
        """Whether bringing up what lies there would change nothing; what is told of the choice may have changed."""
        told = served.choice.fell_back
        same = await is_served(served, folder, self._yard.hands)
        if same and served.choice.fell_back != told:
            tell_what_runs(served, self._yard.metrics)
        return same

    def _refuse(self, slot: Slot, reason: str) -> None:
        log.error("model '%s' is refused: version %d: %s", self.name, slot.version, reason)
        self._yard.metrics.load_failure(self.name)
        if slot.proven is None:
            slot.state, slot.reason = "refused", reason
            self._yard.metrics.model_ready(self.name, slot.version, False)
        else:
            slot.reason = f"it answers as it was loaded; its folder has changed and is refused: {reason}"
        self._yard.changed()

    def _settle(self, found: Found) -> None:
        """Retire what is no longer to answer, forget what is gone, and show what is missing."""
        self._found = found
        there, stable = found.versions.keys(), self._divide(found)
        staying = kept(self.settings.version_policy, self.ready.keys() - self._division.on_trial, stable)
        replaced = f"replaced by version {max(staying)}" if staying else "its folder is gone"
        for slot in list(self.slots.values()):
            if slot.proven is not None and slot.version not in {*staying, self.canary}:
                self._retire(slot, replaced)
            elif slot.is_idle and (slot.state == "loading" or slot.version not in there):
                del self.slots[slot.version]
                self._yard.metrics.forget(self.name, slot.version)
        for slot in self._show_what_is_missing(found):
            log.error("model '%s' is refused: %s", self.name, slot.reason)
        self._publish()

    def _show_what_is_missing(self, found: Found) -> list[Slot]:
        """Slots for what ought to be there and is not, where there are none yet."""
        there = found.versions.keys()
        absent = [version for version in missing(self.settings.version_policy, there) if version not in self.slots]
        shown = [not_there(self._folder, version) for version in absent]
        if not (self.slots or shown or there):
            shown = [no_bundle(self._folder, max(found.unfinished, default=0))]
        self.slots |= {slot.version: slot for slot in shown}
        return shown

    def _publish(self) -> None:
        """Let the version that answers by default be compared with the canary, and tell everybody who answers."""
        ready, default = self.ready, self.default
        live, canary = ready.get(default or 0), ready.get(self.canary or 0)
        if live is None or canary is None or self.settings.canary is None:
            self.shadow = None
        elif self.shadow is None or self.shadow.pair != (live.served, canary.served):
            self.shadow = Shadow(live.served, canary.served, self.settings.canary.share)
        for version, proven in ready.items():
            proven.served.shadow = self.shadow if version == default else None
        self._yard.changed()

    def _retire(self, slot: Slot, reason: str) -> None:
        if slot.proven is None:
            return
        proven, slot.proven = slot.proven, None
        slot.state, slot.reason = "draining", reason
        self._publish()  # no new request finds it from here on
        self.drains.begin(proven, slot)

    def _drained(self, slot: Slot) -> None:
        """Nothing of a slot answers or drains any more."""
        if slot.state != "draining":
            return  # it has been loaded again meanwhile
        slot.state = "unloaded"
        self._yard.metrics.forget(self.name, slot.version)
        if slot.version not in self._found.versions:
            del self.slots[slot.version]
            self._show_what_is_missing(self._found)
        self._yard.changed()

    def _still_answers(self) -> str:
        return f"; version {self.default} still answers" if self.default is not None else ""
