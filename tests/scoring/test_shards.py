"""Cutting: every row in exactly one chunk, whatever the sizes, the limit, the sample, and what is finished already."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from scoring.journal import Done
from scoring.shards import CHUNK_BYTES, Cut, chosen, chunks, shards
from scoring.source import Row


class Numbers:
    """Files of so many rows, and how often each row was read."""

    def __init__(self, sizes: list[int], num_bytes: int = 0) -> None:
        self.files = [f"file {i}" for i in range(len(sizes))]
        self.kept: list[object] = []
        self.digest, self.about, self.num_rows = "", "", sum(sizes)
        self._sizes, self._num_bytes = sizes, num_bytes

    def rows(self, index: int, start: int) -> Iterator[Row]:
        for number in range(start, self._sizes[index]):
            yield Row(self.files[index], number, bytes, (), self._num_bytes)

    def count(self, index: int, at_most: int | None) -> int:
        return self._sizes[index] if at_most is None else min(at_most, self._sizes[index])


def done_of(source: Numbers, cut: Cut) -> dict[tuple[int, int], Done]:
    """What an undisturbed job finishes."""
    scored: dict[tuple[int, int], int] = {}
    found = {}
    for chunk in chunks(source, cut, {}):  # type: ignore[arg-type]
        key = (chunk.file, chunk.shard)
        scored[key] = scored.get(key, 0) + len(chunk.rows)
        if chunk.num_read is not None:
            found[key] = Done(*key, chunk.num_read, scored[key], {})
    return found


def rows_of(found: list[object]) -> list[tuple[str, int]]:
    return [(row.source, row.number) for chunk in found for row in chunk.rows]  # type: ignore[attr-defined]


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    per_shard=st.integers(1, 15),
    per_chunk=st.integers(1, 8),
    limit=st.none() | st.integers(1, 100),
    sample=st.none() | st.floats(0.01, 1),
    data=st.data(),
)
def test_every_row_once_whatever_is_finished(
    sizes: list[int], per_shard: int, per_chunk: int, limit: int | None, sample: float | None, data: st.DataObject
) -> None:
    source, cut = Numbers(sizes), Cut(per_shard, per_chunk, limit, sample)
    everything = [(f"file {i}", number) for i, size in enumerate(sizes) for number in range(size)][:limit]
    wanted = [(name, n) for name, n in everything if sample is None or chosen(int(name[5:]), n, sample)]
    undisturbed = list(chunks(source, cut, {}))  # type: ignore[arg-type]
    assert rows_of(undisturbed) == wanted
    all_done = done_of(source, cut)
    assert sum(done.num_read for done in all_done.values()) == len(everything)
    kept = data.draw(st.sets(st.sampled_from(sorted(all_done))))
    left = list(chunks(source, cut, {key: all_done[key] for key in kept}))  # type: ignore[arg-type]
    assert left == [chunk for chunk in undisturbed if (chunk.file, chunk.shard) not in kept]
    assert list(chunks(source, cut, all_done)) == []  # type: ignore[arg-type]


def test_a_chunk_ends_where_it_holds_much_in_memory() -> None:
    source = Numbers([10], num_bytes=CHUNK_BYTES // 2)
    assert [len(chunk.rows) for chunk in chunks(source, Cut(100, 100), {})] == [2] * 5 + [0]  # type: ignore[arg-type]


def test_a_sample_is_about_its_share_and_always_the_same() -> None:
    taken = [n for n in range(10_000) if chosen(0, n, 0.1)]
    assert 900 < len(taken) < 1100
    assert taken == [n for n in range(10_000) if chosen(0, n, 0.1)]
    assert set(taken) < {n for n in range(10_000) if chosen(0, n, 0.2)}
    assert all(chosen(1, n, 1.0) for n in range(100))


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    per_shard=st.integers(1, 15),
    limit=st.none() | st.integers(1, 100),
    data=st.data(),
)
def test_who_computes_shards_in_any_order_finishes_the_same_ones(
    sizes: list[int], per_shard: int, limit: int | None, data: st.DataObject
) -> None:
    source, cut = Numbers(sizes), Cut(per_shard, 8, limit)
    undisturbed = done_of(source, cut)
    finished = data.draw(st.sets(st.sampled_from(sorted(undisturbed))))
    todo = list(shards(source, cut, {key: undisturbed[key] for key in finished}))  # type: ignore[arg-type]
    assert {(one.file, one.shard) for one in todo} == undisturbed.keys() - finished
    for one in todo:
        rows = [*source.rows(one.file, one.shard * per_shard)][: one.wanted]
        assert len(rows) == undisturbed[one.file, one.shard].num_read
