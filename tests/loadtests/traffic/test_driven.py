"""Every family against a real server, over HTTP and gRPC: right answers pass, every other one is noticed."""

import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from loadtests.traffic.asking import Access, Asker
from loadtests.traffic.case import Answer, Case, outcome_of
from loadtests.traffic.counters import SETTLE_S, apart, parse
from loadtests.traffic.families import FAMILIES, TrafficError
from loadtests.traffic.inputs import read_inputs
from loadtests.traffic.ledger import Ended, Ledger
from loadtests.traffic.served import available, discover, golden_cases
from serving.security.keys import make_key
from tests.builders import png
from tests.loadtests.traffic.models import write_models
from tests.serving.running import free_port, running

trustme = pytest.importorskip("trustme", reason="it belongs to the dev extra")

TELLING = ("classify", "segment", "text-classify", "text-embed", "openai", "oip", "grpc")
"""Families whose golden answers differ; the fake runtime finds nothing, and nothing odd, in any input."""

pytestmark = pytest.mark.xdist_group("traffic")


@dataclass
class Yard:
    """A service that runs, and its bundles."""

    bundles: Path
    access: Access


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Over TLS and with a key, so that all of it is gone through."""
    folder = tmp_path_factory.mktemp("yard")
    authority, made = trustme.CA(), make_key("tests")
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    bundles, grpc_port = write_models(folder / "models"), free_port()
    flags = [f"--tls-cert={folder}/cert.pem", f"--tls-key={folder}/key.pem", f"--api-keys={made.line}"]
    trusting = ssl.create_default_context(cafile=folder / "ca.pem")
    with running(bundles, folder, *flags, f"--grpc-port={grpc_port}", verify=trusting) as server:
        access = Access(server.url, f"localhost:{grpc_port}", made.key, folder / "ca.pem", timeout_ms=20e3)
        yield Yard(bundles, access)


@pytest.fixture(scope="module")
def cases(yard: Yard) -> dict[str, list[Case]]:
    asker = Asker(yard.access)
    try:
        there = available(discover(asker.get, yard.access.host, 20), has_grpc=True)
    finally:
        asker.close()
    assert there.missing == {}
    return {
        name: golden_cases(there.models[name], FAMILIES[name], yard.bundles, yard.access.timeout_ms)
        for name in FAMILIES
    }


@pytest.fixture(scope="module")
def answers(yard: Yard, cases: dict[str, list[Case]]) -> dict[str, list[Answer]]:
    """What the server says to every case; and its counters agree that it was asked so often."""
    asker, ledger = Asker(yard.access), Ledger()
    try:
        before = parse(asker.get("/metrics").body.decode())
        found = {name: [asker.ask(case) for case in some] for name, some in cases.items()}
        time.sleep(SETTLE_S)
        after = parse(asker.get("/metrics").body.decode())
    finally:
        asker.close()
    for name, some in cases.items():
        for case, answer in zip(some, found[name], strict=True):
            outcome = outcome_of(case, answer)[0]
            ledger.note(Ended(case.name, case.route, answer.status, outcome, "", 0, 0, 0, None))
    assert apart(before, after, ledger) == 0
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_the_servers_answers_are_right_in_every_form(
    family: str, cases: dict[str, list[Case]], answers: dict[str, list[Answer]]
) -> None:
    assert {case.form for case in cases[family]} == set(FAMILIES[family].forms)
    outcomes = [outcome_of(case, answer) for case, answer in zip(cases[family], answers[family], strict=True)]
    assert outcomes == [("good", "")] * len(outcomes)


@pytest.mark.parametrize("family", TELLING)
def test_the_answer_to_another_input_is_wrong(
    family: str, cases: dict[str, list[Case]], answers: dict[str, list[Answer]]
) -> None:
    form = FAMILIES[family].forms[0]
    pairs = [(case, one) for case, one in zip(cases[family], answers[family], strict=True) if case.form == form]
    swapped = [outcome_of(case, other)[0] for case, _ in pairs for other_case, other in pairs if case is not other_case]
    assert swapped.count("wrong") > 0
    assert set(swapped) <= {"wrong", "good"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b"null", b'{"model":"x","version":1,"predictions":[]}'])
def test_what_is_no_answer_is_wrong(family: str, body: bytes, cases: dict[str, list[Case]]) -> None:
    for case in {case.form: case for case in cases[family]}.values():
        outcome, why = outcome_of(case, Answer(200, body))
        assert outcome == "wrong"
        assert why


def test_inputs_of_ones_own_must_get_the_same_answer_each_time(yard: Yard, tmp_path: Path) -> None:
    for name, content in (("a.png", png(seed=1)), ("b.PNG", png(seed=2)), ("c.txt", b"a word"), ("d.md", b"no input")):
        (tmp_path / name).write_bytes(content)
    inputs, asker = read_inputs(tmp_path), Asker(yard.access)
    assert [media_type for media_type, _ in inputs] == ["image/png", "image/png", "text/plain"]
    try:
        there = available(discover(asker.get, yard.access.host, 20), has_grpc=True)
        for name, number in (("classify", 2), ("text-embed", 1), ("series", 0)):
            golden = golden_cases(there.models[name], FAMILIES[name], yard.bundles, None)
            more = golden_cases(there.models[name], FAMILIES[name], yard.bundles, None, inputs)[len(golden) :]
            assert len(more) == number
            for case in more:
                assert [outcome_of(case, asker.ask(case)) for _ in range(2)] == [("good", "")] * 2
                assert "not what it said before" in outcome_of(case, asker.ask(golden[0]))[1]
    finally:
        asker.close()


def test_a_folder_without_inputs_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrafficError, match=r"no file there whose name ends in \.bmp"):
        read_inputs(tmp_path)


def test_without_a_key_nobody_is_answered(yard: Yard, cases: dict[str, list[Case]]) -> None:
    asker = Asker(replace(yard.access, api_key="wrong"))
    try:
        refused = [outcome_of(cases[name][0], asker.ask(cases[name][0])) for name in ("classify", "openai", "grpc")]
    finally:
        asker.close()
    assert [outcome for outcome, _ in refused] == ["failed"] * 3
    assert all("401 unauthenticated" in why for _, why in refused)


def test_a_certificate_that_nobody_vouches_for_is_no_answer(yard: Yard, cases: dict[str, list[Case]]) -> None:
    stranger = Asker(replace(yard.access, tls_ca=None))
    trusting = Asker(replace(yard.access, tls_ca=None, insecure=True))
    try:
        assert outcome_of(cases["classify"][0], stranger.ask(cases["classify"][0]))[0] == "unanswered"
        assert outcome_of(cases["classify"][0], trusting.ask(cases["classify"][0])) == ("good", "")
    finally:
        stranger.close()
        trusting.close()


def test_a_deadline_that_has_passed_is_a_refusal_not_a_failure(yard: Yard) -> None:
    hurried = Yard(yard.bundles, replace(yard.access, timeout_ms=0.001))
    asker = Asker(hurried.access)
    try:
        there = available(discover(asker.get, hurried.access.host, 20), has_grpc=True)
        for name in ("classify", "oip", "openai", "grpc"):
            case = golden_cases(there.models[name], FAMILIES[name], yard.bundles, 0.001)[0]
            outcome, why = outcome_of(case, asker.ask(case))
            assert (outcome, "504 deadline_exceeded" in why) == ("shed", True), why
    finally:
        asker.close()


def test_where_nobody_listens_nothing_is_answered(cases: dict[str, list[Case]]) -> None:
    asker = Asker(Access(f"http://127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"))
    try:
        for name in ("classify", "grpc"):
            answer = asker.ask(cases[name][0])
            assert answer.status == 0
            assert answer.error
    finally:
        asker.close()
