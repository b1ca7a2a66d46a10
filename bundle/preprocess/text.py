"""UTF-8 text -> token ids, by the tokenizer that lies in the bundle (tokenizer.json of the `tokenizers` library).

Rows are padded to a multiple only, not to the longest allowed: short texts stay cheap, and texts of like length share a
batch. A text of any length is answered: it is cut to `max_chars` before it is tokenised and to `max_tokens` after, and
the source says so. The file is JSON, read by Rust; nothing is unpickled. Knows nothing of models, labels or HTTP.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, StringConstraints, model_validator
from tokenizers import Tokenizer

from bundle.errors import BadInput, BundleError, InputTooLarge
from bundle.preprocess.prepared import Limits, Prepared, TextSource
from bundle.spec import Spec
from bundle.tensors import Tensors, TensorSpec

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""A file directly in the bundle: no slash, so it cannot lead out of it."""

BYTE_ORDER_MARK = "\ufeff"
QUICK_BYTES = 1024
PROBE = "a \u0378\U0001fae8"  # a letter, a code point that means nothing, and an emoji: hardly any vocabulary has all


class TextTokens(Spec):
    """Tokenise, cut, pad.

    Gives `input_ids` and `attention_mask` (1 for tokens, 0 for padding), int64 [tokens]; `token_type_ids`, all zero,
    where a graph asks for them.
    """

    kind: Literal["text-tokens"] = "text-tokens"
    tokenizer: FileName = "tokenizer.json"
    vocab_size: int = Field(ge=1)
    """Number of rows of the model's embedding; every token id is below it."""
    max_tokens: int = Field(ge=1, le=65_536)
    """Longest row, special tokens included; what is over is cut off at the end of the text."""
    pad_id: int = Field(default=0, ge=0)
    pad_to_multiple: int = Field(default=16, ge=1)
    """Rows are padded to the next multiple, but never over `max_tokens`."""
    max_chars: int = Field(default=10_000, ge=1)
    """Characters that are looked at; the rest of a longer text is cut off before it costs anything."""
    token_type_ids: bool = False

    @model_validator(mode="after")
    def _pad_is_a_token(self) -> Self:
        if self.pad_id >= self.vocab_size:
            raise ValueError(f"pad_id {self.pad_id} is not below vocab_size {self.vocab_size}")
        return self

    @property
    def input_atol(self) -> int:
        """A token is another token or the same: ids are equal on every machine."""
        return 0

    def assets(self) -> tuple[str, ...]:
        """The tokenizer's file."""
        return (self.tokenizer,)

    def input_specs(self) -> tuple[TensorSpec, ...]:
        """Two or three tensors of one shape; both axes are dynamic."""
        names = ("input_ids", "attention_mask", "token_type_ids")[: 3 if self.token_type_ids else 2]
        return tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "tokens")) for name in names)

    def is_quick(self, raw: bytes) -> bool:
        """Whether preparing takes less time than giving it to another thread: some hundred words."""
        return len(raw) <= QUICK_BYTES

    def padded(self, num_tokens: int) -> int:
        """Length of the row that so many tokens are put into."""
        multiples = max(1, -(-num_tokens // self.pad_to_multiple))
        return min(multiples * self.pad_to_multiple, self.max_tokens)

    def row(self, ids: Sequence[int]) -> Tensors:
        """Token ids as the padded row of every input."""
        tensors = {entry.name: np.zeros(self.padded(len(ids)), np.int64) for entry in self.input_specs()}
        tensors["input_ids"][:] = self.pad_id
        tensors["input_ids"][: len(ids)] = ids
        tensors["attention_mask"][: len(ids)] = 1
        return tensors


def load_tokenizer(spec: TextTokens, folder: Path) -> Tokenizer:
    """Read and check the tokenizer, set to cut at `max_tokens` with its special tokens kept. Safe to share by threads.

    Raises:
        BundleError: the file is missing or damaged, has no answer to unknown characters, gives ids that the model's
            embedding does not hold, or needs more special tokens than fit.
    """
    path = folder / spec.tokenizer
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        special_ids = tokenizer.encode("").ids
        ids = [*tokenizer.encode(PROBE).ids, *tokenizer.get_vocab(with_added_tokens=True).values()]
    except (OSError, UnicodeDecodeError) as cause:
        raise BundleError(f"{path}: the tokenizer cannot be read: {cause}") from None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as cause:  # noqa: BLE001 - the library raises plain Exceptions, and its panics not even these
        raise BundleError(f"{path}: not a tokenizer that can be used: {cause}") from None
    highest = max([*ids, *special_ids], default=0)
    if highest >= spec.vocab_size:
        raise BundleError(f"{path}: it gives token id {highest}; the model holds ids 0 to {spec.vocab_size - 1}")
    if len(special_ids) >= spec.max_tokens:
        raise BundleError(f"{path}: its {len(special_ids)} special tokens leave no room in {spec.max_tokens} tokens")
    tokenizer.enable_truncation(spec.max_tokens)
    return tokenizer


def prepare_text(spec: TextTokens, tokenizer: Tokenizer, raw: bytes, limits: Limits) -> Prepared:
    """Tokenise one text; `tokenizer` is what `load_tokenizer` gave.

    Raises:
        BadInput: not UTF-8, or nothing but white space.
        InputTooLarge: more bytes than the limits allow.
    """
    text = _read(raw, limits)
    cut = text[: spec.max_chars]
    try:
        encoding = tokenizer.encode(cut)
    except Exception as cause:  # noqa: BLE001 - what the library raises has no type of its own
        raise BadInput(f"the text cannot be split into tokens: {cause}") from None
    ids = encoding.ids
    source = TextSource(num_tokens=len(ids), truncated=len(cut) < len(text) or bool(encoding.overflowing))
    return Prepared(spec.row(ids), source)


def _read(raw: bytes, limits: Limits) -> str:
    if len(raw) > limits.max_bytes:
        raise InputTooLarge(f"the text has {len(raw)} bytes; at most {limits.max_bytes} are read")
    try:
        text = raw.decode("utf-8").removeprefix(BYTE_ORDER_MARK)
    except UnicodeDecodeError as cause:
        raise BadInput(
            f"the text is not UTF-8: {cause.reason} at byte {cause.start} (0x{raw[cause.start]:02x}) of {len(raw)}; "
            "send it encoded as UTF-8"
        ) from None
    if not text or text.isspace():
        raise BadInput(f"the text is empty: {len(raw)} bytes with nothing but white space; send at least one character")
    return text
