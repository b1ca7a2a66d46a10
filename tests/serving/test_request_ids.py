import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.request_ids import SANE, request_id_of


@pytest.mark.parametrize("given_id", [b"a", b"f81d4fae-7dec-11d0-a765-00a0c91e6bf6", b"~" * 128, b"{{}}!"])
def test_a_sane_name_is_kept(given_id: bytes) -> None:
    assert request_id_of(given_id) == given_id.decode()


@pytest.mark.parametrize("given_id", [b"", b"a b", b"~" * 129, b"line\n", b"\nline", b"caf\xe9", b"\x00", b"a\r\nX: y"])
def test_a_name_that_could_break_a_log_or_a_header_is_replaced(given_id: bytes) -> None:
    assert SANE.fullmatch(request_id_of(given_id).encode())
    assert request_id_of(given_id).encode() != given_id


@given(st.binary(max_size=200))
def test_whatever_comes_the_name_is_sane(given_id: bytes) -> None:
    assert SANE.fullmatch(request_id_of(given_id).encode("ascii"))


def test_names_of_ours_never_repeat_in_a_process_or_between_two() -> None:
    code = "from serving.request_ids import request_id_of as of; print(*(of(None) for _ in range(50)))"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert len({*runs[0], *runs[1]}) == 100
