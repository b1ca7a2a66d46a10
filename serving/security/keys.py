"""API keys: who may ask, and who may change what is served.

A key is 256 random bits, so its sha256 is all that has to be kept, and one fast hash is right: a slow one (scrypt,
argon2) makes *guessable* secrets costly to guess, and 2^256 cannot be guessed at any price, while 50 ms a check would
take the whole service at 20 requests a second. Nothing here keeps or logs a key. Knows hashes, files and header
values. Knows nothing of requests or routes.
"""

import hashlib
import hmac
import logging
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bundle.errors import BadInput
from serving.security.watched import Watched

log = logging.getLogger("modelyard.serving")

PREFIX = "my_"
"""So that a scanner for leaked secrets, and a person, knows one when it sees one."""
LINE = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,64}):(?P<hash>[0-9a-fA-F]{64})")
LARGEST_FILE_BYTES = 2**20
LONGEST_KEY = 512
FORM = "lines of the form name:sha256hex, as `modelyard key NAME` prints them"


class NewKey(NamedTuple):
    """A key that was just made."""

    key: str
    line: str
    """What goes into the file of keys."""


@dataclass(frozen=True)
class KeySource:
    """Where keys of one kind come from; both may be given."""

    given: str
    """From the environment: entries name:sha256hex, between commas or blanks."""
    file: Path | None
    """The same, a line each."""
    what: str
    """For messages: "API keys"."""


class Keys:
    """The keys of one kind."""

    def __init__(self, source: KeySource) -> None:
        """Read them.

        Raises:
            BadInput: a file that cannot be read, or is not in the form of one.
        """
        self._source = source
        self._watched = Watched(source.file) if source.file else None
        self._hashes = _read(source)
        self._accepted: dict[str, str] = {}

    @property
    def configured(self) -> bool:
        """Whether any key is asked for at all."""
        return bool(self._hashes)

    def check(self, header: str | None) -> str | None:
        """Whose key a header's value holds (`Bearer <key>`, or the key alone), or None."""
        if self._watched is not None and self._watched.changed():
            self._reread()
        if header is None:
            return None
        name = self._accepted.get(header)
        return name if name is not None else self._look_up(header)

    def _look_up(self, header: str) -> str | None:
        key = key_of(header)
        if not key or len(key) > LONGEST_KEY:
            return None
        digest = hashlib.sha256(key.encode(errors="surrogateescape")).digest()
        found = None
        for stored, name in self._hashes.items():  # all of them, so that time says nothing of which one it was
            if hmac.compare_digest(stored, digest):
                found = name
        if found is not None:
            # Only what was accepted is kept, so nobody can fill this; a key has few spellings ("Bearer", "bearer").
            if len(self._accepted) > 8 * len(self._hashes):
                self._accepted.clear()
            self._accepted[header] = found
        return found

    def _reread(self) -> None:
        """Take the new keys, or keep the old ones where the file is broken: a slip must not lock everybody out."""
        try:
            self._hashes = _read(self._source)
        except BadInput as cause:
            log.error("%s; the %d %s from before stay in force", cause, len(self._hashes), self._source.what)
            return
        self._accepted = {}
        log.info("%s: read again, %d of them: %s", self._source.file, len(self._hashes), self._source.what)


def key_of(header: str) -> str:
    """The key in a header's value, with or without its scheme in front."""
    scheme, blank, rest = header.partition(" ")
    return rest.strip() if blank and scheme.lower() == "bearer" else header.strip()


def make_key(name: str) -> NewKey:
    """A new key for somebody.

    Raises:
        BadInput: a name that no file of keys can hold.
    """
    key = PREFIX + secrets.token_urlsafe(32)
    line = f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"
    if not LINE.fullmatch(line):
        raise BadInput(f"'{name}' cannot name a key: letters, digits, '_', '.' and '-', at most 64 of them")
    return NewKey(key, line)


def _read(source: KeySource) -> dict[bytes, str]:
    """All keys of a source, hash -> name."""
    entries = [(f"the {source.what} in the environment", one) for one in re.split(r"[,\s]+", source.given) if one]
    if source.file is not None:
        lines = [(f"{source.file}, line {number}", line) for number, line in _lines(source.file)]
        if not lines:  # an empty file must never mean "open to everybody"
            raise BadInput(f"{source.file}: it holds no {source.what}; expected are {FORM}")
        entries += lines
    return dict(_parsed(where, entry) for where, entry in entries)


def _lines(file: Path) -> list[tuple[int, str]]:
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_FILE_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeError) as cause:
        raise BadInput(f"{file}: the keys cannot be read: {cause}; expected are {FORM}") from None
    if len(content) > LARGEST_FILE_BYTES:
        raise BadInput(f"{file}: more than {LARGEST_FILE_BYTES} bytes; a file of keys holds {FORM}")
    stripped = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, line) for number, line in stripped if line and not line.startswith("#")]


def _parsed(where: str, entry: str) -> tuple[bytes, str]:
    match = LINE.fullmatch(entry)
    if match is None:
        # The entry is not shown: somebody may have put the key itself where its hash belongs.
        raise BadInput(f"{where}: this is no key's hash ({len(entry)} characters); expected are {FORM}")
    return bytes.fromhex(match["hash"]), match["name"]
