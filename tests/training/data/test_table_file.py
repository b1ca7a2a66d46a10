"""Tables in text files: encodings, delimiters and quoting are found out; what cannot be read is named by line."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import DataError
from training.data.table_file import Record, read_records

WANTED = ("text", "label")
ROWS = [("좋은 영화, 정말", "긍정"), ("별로", "부정")]
CSV = 'text,label\n"좋은 영화, 정말",긍정\n별로,부정\n'


def read(folder: Path, name: str, content: str | bytes) -> list[Record]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_records(path, WANTED)


def pairs(records: list[Record]) -> list[tuple[str, str]]:
    return [(record.values["text"], record.values["label"]) for record in records]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp949"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_encoding_is_found_out(encoding: str, line_end: str, tmp_path: Path) -> None:
    got = read(tmp_path, "x.csv", CSV.replace("\n", line_end).encode(encoding))
    assert pairs(got) == ROWS
    assert [record.line for record in got] == [2, 3]


def test_an_unknown_encoding_is_refused_with_line_and_byte(tmp_path: Path) -> None:
    raw = b"text,label\ngood,1\nna\xefve,0\n"
    with pytest.raises(DataError, match=r"not UTF-8 \(line 3, byte 20: 0xef.*not CP949 \(line 3, byte 20"):
        read(tmp_path, "x.csv", raw)


def test_a_damaged_utf_16_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not UTF-16 \(line"):
        read(tmp_path, "x.csv", CSV.encode("utf-16")[:-1])


def test_a_file_with_zero_characters_is_no_text_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: holds a zero character"):
        read(tmp_path, "x.csv", "text,label\na\0,b\n")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_makes_a_header(delimiter: str, tmp_path: Path) -> None:
    lines = [("id", "text", "label"), ("1", "good, not; bad" if delimiter == "|" else "good", "x")]
    got = read(tmp_path, "x.csv", "\n".join(delimiter.join(line) for line in lines))
    assert pairs(got) == [(lines[1][1], "x")]


def test_a_quoted_text_may_hold_line_breaks_and_quotes(tmp_path: Path) -> None:
    got = read(tmp_path, "x.csv", 'text,label\n"a ""good""\nfilm",1\n\nb,0\n')
    assert pairs(got) == [('a "good"\nfilm', "1"), ("b", "0")]
    assert [record.line for record in got] == [2, 5]


def test_bare_quotes_of_a_tab_separated_file_are_letters(tmp_path: Path) -> None:
    got = read(tmp_path, "x.tsv", 'text\tlabel\n"good\t1\nso "so" \t0\nit is "\t1\n')
    assert pairs(got) == [('"good', "1"), ('so "so" ', "0"), ('it is "', "1")]


def test_a_tab_separated_file_may_be_quoted_throughout(tmp_path: Path) -> None:
    got = read(tmp_path, "x.tsv", '"text"\t"label"\n"a b"\t"1"\n')
    assert pairs(got) == [("a b", "1")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('text,label\n"good" film,1\n', "line 2: .*the quotes do not fit"),
        ('text,label\na,1\n"never closed,0\nb,1\n', "line 3: .*the quotes do not fit"),
        ("text,label\na,1\ngood, or not,0\n", r"line 3: 3 columns, the header has 2 \(text, label\)"),
        ("text,label\na\n", "line 2: 1 columns"),
        ("review,stars\na,1\n", "no column 'text', 'label'; its header has 'review', 'stars'"),
        ("text,label,text\na,1,b\n", "more than one column 'text'"),
        ("text,label\n", "holds no rows"),
        ("text,label\n\n , \n", "holds no rows"),
        ("", "no column 'text', 'label'; its header has nothing"),
    ],
)
def test_what_is_wrong_is_named(content: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says) as refusal:
        read(tmp_path, "x.csv", content)
    assert "x.csv" in str(refusal.value)


def test_json_lines_are_read_with_their_lines(tmp_path: Path) -> None:
    lines = [json.dumps({"text": text, "label": label, "n": 1}, ensure_ascii=False) for text, label in ROWS]
    got = read(tmp_path, "x.jsonl", "\n".join([lines[0], "", lines[1]]))
    assert pairs(got) == ROWS
    assert [record.line for record in got] == [1, 3]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[1]", "a JSON list; expected an object"),
        ("[" * 100_000, "not JSON"),
        ("NaN", "a JSON float"),
    ],
)
def test_a_line_that_is_no_object_is_named(line: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"line 2: {says}"):
        read(tmp_path, "x.jsonl", '{"text": "a", "label": "b"}\n' + line)


def test_a_long_field_is_read(tmp_path: Path) -> None:
    assert len(pairs(read(tmp_path, "x.csv", f"text,label\n{'x' * 200_000},1\n"))[0][0]) == 200_000


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ends in \.csv, \.tsv, \.jsonl, \.ndjson"):
        read(tmp_path, "x.xlsx", CSV)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nope\.csv: cannot be read"):
        read_records(tmp_path / "nope.csv", WANTED)
