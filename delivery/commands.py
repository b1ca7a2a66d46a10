"""The command line of delivery: `modelyard fetch`."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import tyro

from bundle.errors import BadInput
from delivery.bring import Order, bring, check_space, is_there, needed, place_of
from delivery.offers import Offer, VersionsWanted, offers
from delivery.room import Room
from delivery.sources import opened


def fetch_command(arguments: list[str]) -> None:
    """`modelyard fetch SOURCE... --repository DIR`."""
    tyro.cli(_fetch, prog="modelyard fetch", args=arguments)


def _fetch(
    sources: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="SOURCE...")]],
    /,
    repository: Path,
    versions: VersionsWanted = "newest",
    verify: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    jobs: int = 8,
    plain_http: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Copy bundles into a model repository, each whole and checked by every hash, or not at all.

    What is there and valid is left as it is, and never replaced. Prints the folder of each bundle, fetched or there;
    words for people go to standard error. Safe beside a running service and beside another fetch.

    Exit codes: 0 every bundle is there, 1 an error (what was fetched before it stays), 2 wrong usage.

    Args:
        sources: s3://bucket/prefix, gs://bucket/prefix, oci://registry/repository:tag (or @sha256:...) or a folder;
            each a bundle, a model (a folder of versions) or a repository (a folder of models).
        repository: The model repository; made if it is not there.
        versions: Of each model of a source: the newest, or all.
        verify: Hold also what is there to its hashes; what fails is fetched again.
        jobs: Files at a time, each with 4 MB in memory.
        plain_http: Ask registries over HTTP, without TLS; those on this machine are always asked so.
    """
    if not sources:
        raise BadInput("no source is given; modelyard fetch SOURCE... --repository DIR")
    if not 1 <= jobs <= 64:
        raise BadInput(f"--jobs is {jobs}; expected are 1 to 64")
    order = Order(repository.absolute(), verify, jobs)
    room = Room(order.repository, _say)
    for source in sources:
        with ExitStack() as used:
            tree = used.enter_context(opened(source, room, plain_http))
            _bring_all(offers(tree, versions, _say), order, room)


def _bring_all(found: list[Offer], order: Order, room: Room) -> None:
    wanted = [None if is_there(offer, order, _say) else needed(offer, _say) for offer in found]
    check_space([one for one in wanted if one is not None], order.repository)
    for offer, one in zip(found, wanted, strict=True):
        if one is None:
            _say(f"{offer}: is there")
        else:
            bring(one, order, room, _say)
        print(place_of(offer, order.repository), flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
