"""What one process of Locust needs while it runs: a way to the service, the cases, and a ledger.

Knows options and what is served. Knows nothing of Locust's events.
"""

from argparse import Namespace
from pathlib import Path

from loadtests.traffic.asking import Access, Asker
from loadtests.traffic.case import Case
from loadtests.traffic.families import FAMILIES, TrafficError, chosen, parse_weights
from loadtests.traffic.ledger import Ledger
from loadtests.traffic.options import access_of, check_options
from loadtests.traffic.served import Listed, available, discover, golden_cases


class Traffic:
    """One run in one process."""

    def __init__(self, options: Namespace) -> None:
        """Look at what is served.

        Raises:
            TrafficError: the service does not answer, or lacks what was asked for.
        """
        check_options(options)
        wanted = parse_weights(options.families)
        self.access: Access = access_of(options)
        self.asker = Asker(self.access)
        self.pacing: str = options.pacing
        self.rate_per_user: float = options.rate_per_user
        self.ledger = Ledger()
        listed = discover(self.asker.get, self.access.host, options.ready_within)
        there = available(listed, self.access.grpc_host is not None)
        self.weights = chosen(wanted, there.models, there.missing)
        self.missing = there.missing
        self._models: dict[str, list[Listed]] = {name: there.models[name] for name in self.weights}
        self._bundles = Path(options.bundles)
        self._forms: dict[str, list[list[Case]]] = {}

    def make_cases(self) -> None:
        """Write every request, once.

        Raises:
            TrafficError: a bundle that is served is not here.
        """
        if not self._bundles.is_dir():
            raise TrafficError(f"--bundles {self._bundles}: no such folder; it must hold the bundles that are served")
        for name, models in self._models.items():
            cases = golden_cases(models, FAMILIES[name], self._bundles, self.access.timeout_ms)
            by_form = [[case for case in cases if case.form == form] for form in FAMILIES[name].forms]
            self._forms[name] = [some for some in by_form if some]

    def forms(self, family: str) -> list[list[Case]]:
        """The cases of a family, by form; a family that is not driven has none."""
        return self._forms[family]

    def told(self) -> str:
        """What is driven, and what is not, for a person."""
        lines = [
            f"{name} (weight {weight}): {', '.join(f'{one.name} v{one.version} ({one.artefact})' for one in self._models[name])}"
            for name, weight in self.weights.items()
        ]
        lines += [f"{name}: not driven: {why}" for name, why in self.missing.items()]
        return "\n  ".join(["driven at " + self.access.host, *lines])
