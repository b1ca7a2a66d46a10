"""The options that come on top of Locust's own, each also an environment variable LOADTEST_<NAME> and a field of its page.

Knows names, defaults and help. Knows nothing of how they are used.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

from loadtests.traffic.asking import Access
from loadtests.traffic.families import FAMILIES, SERVED, TrafficError
from loadtests.traffic.pacing import PACINGS, POISSON
from loadtests.traffic.profiles import DEFAULT_STEPS, FREE, PROFILES, parse_steps

SHAPES = [*PROFILES, "step", FREE]


def add_options(parser: Any) -> None:
    """To Locust's parser."""

    def option(name: str, text: str, **more: Any) -> None:
        variable = "LOADTEST_" + name.removeprefix("--").replace("-", "_").upper()
        parser.add_argument(name, env_var=variable, help=text, **more)

    option("--bundles", "Folder of the bundles that are served: their golden samples are asked", default="models")
    option(
        "--families",
        f"Families with weights, as classify=3,grpc; '{SERVED}': all that are served. There are {', '.join(FAMILIES)}",
        default=SERVED,
    )
    option("--grpc-host", "HOST:PORT of gRPC; without it nobody asks there", default="")
    option("--api-key", "Sent with every request", default="", is_secret=True)
    option("--tls-ca", "PEM file of who signed the service's certificate; without it the system's", default="")
    option("--insecure", "HTTPS with any certificate (not for gRPC)", action="store_true", default=False)
    option("--timeout-ms", "Deadline sent with every request, in milliseconds; 0: none", type=float, default=0.0)
    option("--ready-within", "Seconds to wait for the service to be ready", type=float, default=30.0)
    option(
        "--pacing",
        "poisson: arrivals that wait for no answer; constant: an even rate a user, later where answers are late; "
        "closed: the next request when the answer is there",
        choices=PACINGS,
        default=POISSON,
    )
    option("--rate-per-user", "Requests a second of one user (poisson, constant)", type=float, default=1.0)
    option("--shape", "The course of the load; 'free': users and run time as given", choices=SHAPES, default=FREE)
    option(
        "--rate",
        "Requests a second that a shape's shares refer to: what the service can answer",
        type=float,
        default=50.0,
    )
    option("--stretch", "Factor on a shape's durations", type=float, default=1.0)
    option("--steps", "Shares of --rate for shape 'step', with commas between", default=DEFAULT_STEPS)
    option("--step-s", "Seconds of each step", type=float, default=10.0)
    option("--ledger", "File for all counts and times, as JSON", default="", include_in_web_ui=False)


def access_of(options: Namespace) -> Access:
    """How to reach the service.

    Raises:
        TrafficError: no host, or a file that is not there.
    """
    if not options.host:
        raise TrafficError("give the service's address with --host, such as --host http://127.0.0.1:8000")
    authority = Path(options.tls_ca) if options.tls_ca else None
    if authority is not None and not authority.is_file():
        raise TrafficError(f"--tls-ca {authority}: no such file")
    return Access(
        host=options.host,
        grpc_host=options.grpc_host or None,
        api_key=options.api_key or None,
        tls_ca=authority,
        insecure=options.insecure,
        timeout_ms=options.timeout_ms or None,
    )


def check_options(options: Namespace) -> None:
    """What argparse cannot say.

    Raises:
        TrafficError: a number that is out of range.
    """
    for name in ("rate", "rate_per_user", "stretch", "step_s"):
        if not getattr(options, name) > 0:
            raise TrafficError(f"--{name.replace('_', '-')} is {getattr(options, name)}; it must be over 0")
    if not options.timeout_ms >= 0:
        raise TrafficError(f"--timeout-ms is {options.timeout_ms}; it must be 0 (none) or more")
    parse_steps(options.steps)
