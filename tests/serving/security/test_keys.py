import logging
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundle.errors import BadInput
from serving.security import watched
from serving.security.keys import Keys, KeySource, NewKey, make_key
from tests.serving.running import ROOT

ALICE, BOB = make_key("alice"), make_key("bob")


@pytest.fixture(autouse=True)
def _look_at_files_at_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched.Watched.__init__, "__kwdefaults__", {"every_s": 0.0})


def given(*keys: NewKey) -> Keys:
    return Keys(KeySource(",".join(key.line for key in keys), None, "API keys"))


def in_file(file: Path) -> Keys:
    return Keys(KeySource("", file, "API keys"))


def write(file: Path, *keys: NewKey) -> Path:
    file.write_text("\n".join(key.line for key in keys), encoding="utf-8")
    return file


def test_a_key_tells_whose_it_is_by_either_header() -> None:
    keys = given(ALICE, BOB)
    assert [keys.check(f"Bearer {key.key}") for key in (ALICE, BOB)] == ["alice", "bob"]
    assert [keys.check(key.key) for key in (ALICE, BOB)] == ["alice", "bob"]
    assert keys.check(f"bearer  {ALICE.key} ") == "alice"


NOT_KEYS: dict[str, str | None] = {
    "nothing": None,
    "empty": "",
    "scheme alone": "Bearer",
    "scheme and blank": "Bearer ",
    "one letter short": ALICE.key[:-1],
    "one letter more": ALICE.key + "x",
    "its line": ALICE.line,
    "its hash": ALICE.line.partition(":")[2],
    "not ascii": "\xe9" * 9,
    "not text": "\udcff",
    "another scheme": f"Basic {ALICE.key}",
    "very long": "Bearer " + "a" * 100_000,
}


@pytest.mark.parametrize("what", NOT_KEYS)
def test_anything_else_is_nobodys(what: str) -> None:
    assert given(ALICE).check(NOT_KEYS[what]) is None


def test_what_was_refused_is_not_remembered() -> None:
    keys = given(ALICE)
    for i in range(1000):
        assert keys.check(f"Bearer guess-{i}") is None
    assert not keys._accepted


def test_spellings_of_a_good_key_do_not_pile_up() -> None:
    keys = given(ALICE)
    for blanks in range(1000):
        assert keys.check(f"Bearer {' ' * (blanks % 400)}{ALICE.key}") == "alice"
    assert len(keys._accepted) <= 9


def test_a_check_costs_next_to_nothing(tmp_path: Path) -> None:
    keys = in_file(write(tmp_path / "keys", *(make_key(f"k{i}") for i in range(100)), ALICE))
    keys._watched = watched.Watched(tmp_path / "keys", every_s=watched.CHECK_EVERY_S)
    header = f"Bearer {ALICE.key}"
    keys.check(header)
    rounds = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(1000):
            keys.check(header)
        rounds.append((time.perf_counter() - start) / 1000)
    assert statistics.median(rounds) < 2e-6


def test_keys_come_from_the_environment_and_a_file_together(tmp_path: Path) -> None:
    keys = Keys(KeySource(ALICE.line, write(tmp_path / "keys", BOB), "API keys"))
    assert (keys.check(ALICE.key), keys.check(BOB.key)) == ("alice", "bob")


def test_comments_blank_lines_and_several_keys_of_one_name_are_fine(tmp_path: Path) -> None:
    second = make_key("alice")
    file = tmp_path / "keys"
    file.write_text(f"# of the team\r\n\n{ALICE.line}\n  {second.line.upper().replace('ALICE', 'alice')}  \n")
    keys = in_file(file)
    assert keys.check(ALICE.key) == keys.check(second.key) == "alice"


def test_a_new_file_is_taken_without_a_restart_and_the_old_keys_end(tmp_path: Path) -> None:
    file = write(tmp_path / "keys", ALICE)
    keys = in_file(file)
    assert keys.check(ALICE.key) == "alice"
    write(file, BOB)
    assert (keys.check(ALICE.key), keys.check(BOB.key)) == (None, "bob")


def test_the_swap_of_a_link_as_kubernetes_renews_a_secret_is_noticed(tmp_path: Path) -> None:
    for folder, key in (("first", ALICE), ("second", BOB)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "keys", key)
        os.utime(tmp_path / folder / "keys", (1, 1))
    data = tmp_path / "..data"
    data.symlink_to("first")
    (tmp_path / "keys").symlink_to("..data/keys")
    keys = in_file(tmp_path / "keys")
    assert keys.check(ALICE.key) == "alice"
    (tmp_path / "..new").symlink_to("second")
    (tmp_path / "..new").replace(data)
    assert (keys.check(ALICE.key), keys.check(BOB.key)) == (None, "bob")


@pytest.mark.parametrize("content", [b"", b"# none left\n", b"alice\n", b"\xff\xfe", b"alice:12", None], ids=str)
def test_a_broken_new_file_leaves_the_keys_from_before_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    file = write(tmp_path / "keys", ALICE)
    keys = in_file(file)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        assert [keys.check(ALICE.key) for _ in range(3)] == ["alice"] * 3
    assert [str(file) in message and "stay in force" in message for message in caplog.messages] == [True]
    write(file, BOB)
    assert keys.check(BOB.key) == "bob"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no API keys"),
        (b"# none\n", "holds no API keys"),
        (ALICE.key.encode(), "line 1: this is no key's hash"),
        (b"\nalice:" + b"g" * 64, "line 2"),
        (b"\xff", "cannot be read"),
        (b"#" * 2**21, "more than"),
        (None, "No such file"),
    ],
    ids=["empty", "only comments", "the key itself", "no hex", "no text", "large", "missing"],
)
def test_a_start_with_a_broken_file_is_refused_without_showing_what_is_in_it(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        in_file(file)
    assert told in str(caught.value)
    assert str(file) in str(caught.value)
    assert "name:sha256hex" in str(caught.value)
    assert ALICE.key not in str(caught.value)


def test_broken_keys_in_the_environment_are_refused() -> None:
    with pytest.raises(BadInput, match="in the environment: this is no key's hash"):
        Keys(KeySource("nonsense", None, "admin keys"))


def test_without_any_key_nothing_is_configured() -> None:
    assert not given().configured
    assert given(ALICE).configured


def test_made_keys_differ_and_have_256_random_bits() -> None:
    made = {make_key("a").key for _ in range(100)}
    assert len(made) == 100
    assert {len(key) for key in made} == {3 + 43}


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a" * 65, "é", "a\n"])
def test_a_name_that_no_file_can_hold_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="cannot name a key"):
        make_key(name)


def test_the_command_prints_the_key_and_its_line() -> None:
    done = subprocess.run(
        [sys.executable, "modelyard.py", "key", "alice"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    key, line = done.stdout.splitlines()
    assert Keys(KeySource(line, None, "API keys")).check(key) == "alice"
    assert key not in done.stderr
