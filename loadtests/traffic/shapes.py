"""Locust's shapes: the profile of a name, as numbers of users for its rate.

`Chosen` takes the one that --shape names, so one option (or one field of the web page) selects; the others are for
Locust's own --class-picker. Knows Locust and profiles.
"""

from typing import ClassVar

from locust import LoadTestShape

from loadtests.traffic.profiles import FREE, PROFILES, Profile, num_users, parse_steps, step_profile

SPAWN_PER_SECOND = 100.0
"""Locust advises against more."""


class _Profiled(LoadTestShape):
    abstract = True
    use_common_options: ClassVar[bool] = True
    name: ClassVar[str] = FREE

    def tick(self) -> tuple[int, float] | None:
        """Users now, and how fast to get there; None when it is over."""
        profile = self.profile(self.name)
        options = self.runner.environment.parsed_options
        share = profile.share(self.get_run_time())
        if share is None:
            return None
        return num_users(share * options.rate, options.rate_per_user), SPAWN_PER_SECOND

    def profile(self, name: str) -> Profile:
        """As the options have it."""
        options = self.runner.environment.parsed_options
        if name == "step":
            return step_profile(parse_steps(options.steps), options.step_s)
        return PROFILES[name].stretched(options.stretch)


class Chosen(_Profiled):
    """The shape that --shape names; `free`: the users and the run time of Locust's own options."""

    abstract = False

    def tick(self) -> tuple[int, float] | None:
        """Users now, and how fast to get there; None when it is over."""
        options = self.runner.environment.parsed_options
        self.name = options.shape
        if options.shape != FREE:
            return super().tick()
        limit_s = options.run_time
        if limit_s and self.get_run_time() > float(limit_s):
            return None
        return options.num_users or 1, float(options.spawn_rate or SPAWN_PER_SECOND)


class Steady(_Profiled):
    """Two fifths of the rate."""

    abstract = False
    name = "steady"


class Ramp(_Profiled):
    """From a tenth to three fifths."""

    abstract = False
    name = "ramp"


class Spike(_Profiled):
    """A burst of one and a half times the rate in calm traffic."""

    abstract = False
    name = "spike"


class Overload(_Profiled):
    """One and three quarters of the rate."""

    abstract = False
    name = "overload"


class Soak(_Profiled):
    """Two fifths, for long."""

    abstract = False
    name = "soak"


class Step(_Profiled):
    """One step after the other."""

    abstract = False
    name = "step"
