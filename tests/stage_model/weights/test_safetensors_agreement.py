"""The header reader and the safetensors library accept and refuse the same files, apart from the differences named."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# The library leaves what `deserialize` returns untyped.

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from stage_model.errors import StagingError
from stage_model.source.byte_source import BytesSource
from stage_model.weights.safetensors_header import ITEM_SIZES, index_safetensors

Found = dict[str, tuple[str, tuple[int, ...], bytes]] | None


def ours(raw: bytes) -> Found:
    """Return dtype, shape and bytes of each tensor by name, or None for a file that is refused."""
    try:
        file = index_safetensors("model.safetensors", BytesSource(raw), "0" * 64)
    except StagingError:
        return None
    return {tensor.name: (tensor.dtype, tensor.shape, raw[tensor.start : tensor.end]) for tensor in file.tensors}


def theirs(raw: bytes) -> Found:
    """Return the same by the library."""
    try:
        return {name: (info["dtype"], tuple(info["shape"]), bytes(info["data"])) for name, info in deserialize(raw)}
    except SafetensorError:
        return None


def file(header: str | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else header.encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + data


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__")
shapes = st.lists(st.integers(0, 4), max_size=4)


@st.composite
def valid_files(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """Draw a header as an object, in any order of its entries, and data."""
    entries, at = dict[str, Any](), 0
    for name in draw(st.lists(names, min_size=1, max_size=5, unique=True)):
        dtype, shape = draw(st.sampled_from(sorted(ITEM_SIZES))), draw(shapes)
        size = ITEM_SIZES[dtype]
        for length in shape:
            size *= length
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    if draw(st.booleans()):
        entries["__metadata__"] = draw(st.one_of(st.none(), st.dictionaries(names, names, max_size=3)))
    order = draw(st.permutations(sorted(entries)))
    return {name: entries[name] for name in order}, draw(st.binary(min_size=at, max_size=at))


@settings(max_examples=150, deadline=None)
@given(valid_files(), st.booleans(), st.sampled_from([None, 2]), st.sampled_from(["", "  ", "\n\t\r "]))
def test_what_the_library_accepts_is_read_with_the_same_tensors(
    drawn: tuple[dict[str, Any], bytes], ascii_only: bool, indent: int | None, padding: str
) -> None:
    header, data = drawn
    raw = file(json.dumps(header, ensure_ascii=ascii_only, indent=indent) + padding, data)
    expected = theirs(raw)
    assert expected is not None and ours(raw) == expected


# In place of a text in a valid header: each makes another one that may or may not be valid.
_CHANGES: Sequence[str] = [
    "true", "false", "null", "-0", "-1", "0", "1", "4", "8", "1.0", "4e0", "1e400", "NaN", "Infinity", "-Infinity",
    "18446744073709551616", "4611686018427387904", "[]", "[0]", "{}", '""', '"F32"', '"F64"', '"\\ud800"', '"\\udc00x"',
    '"\\ud83c\\udfb5"', "\ud800", "\x00", "\x1f", "\ufeff", ",", ":", "{", "}", "[", "]", '"', "\\", "\\x", "\u00a0",
    '"__metadata__"', '"__metadata__":{}', '"__metadata__":1', '"dtype"', '"dtype":"F32"', '"shape":[1]', '"x":1,',
    '"data_offsets"', '"data_offsets":[0,4],',
]  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(valid_files(), st.data())
def test_what_the_library_refuses_is_refused_and_what_it_accepts_is_the_same_or_refused_for_a_known_reason(
    drawn: tuple[dict[str, Any], bytes], data: st.DataObject
) -> None:
    text, values = json.dumps(drawn[0], ensure_ascii=data.draw(st.booleans())), drawn[1]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.sampled_from(_CHANGES)) + text[at + data.draw(st.integers(0, 6)) :]
    values = values[: data.draw(st.integers(len(values) - 1, len(values)).filter(lambda n: n >= 0))]
    raw = file(text, values)
    expected, got = theirs(raw), ours(raw)
    assert got == expected or (got is None and stricter(text))


def stricter(text: str) -> bool:
    """Return whether a file that the library accepts is one of those that staging refuses."""
    twice = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        twice |= len({name for name, _ in items}) < len(items)
        return dict(items)

    header = json.loads(text, object_pairs_hook=pairs)
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    unsupported = any(not isinstance(e, dict) or e["dtype"] not in ITEM_SIZES for e in entries)
    return not text.startswith("{") or not entries or twice or unsupported


GOOD = '"dtype":"F32","shape":[1],"data_offsets":[0,4]'


@pytest.mark.parametrize(
    "header",
    [
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[false,4]}}',
        '{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[-0,4]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}',
        '{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[4611686018427387904,4,0],"data_offsets":[0,0]},"b":{GOOD}}',
        '{"a":{GOOD,"x":NaN}}',
        '{"a":{GOOD,"x":-Infinity}}',
        '{"a":{GOOD,"x":1e400}}',
        '{"a":{GOOD,"x":"\\ud800"}}',
        '{"a":{GOOD,"dtype":"F32"}}',
        '{"\\ud800":{GOOD}}',
        '{"\ud800":{GOOD}}',
        '{"__metadata__":[],"a":{GOOD}}',
        '{"__metadata__":{"x":1},"a":{GOOD}}',
        '{"__metadata__":{"x":"\\ud800"},"a":{GOOD}}',
        '{"__metadata__":{},"__metadata__":{},"a":{GOOD}}',
        '{"__metadata__":{GOOD}}',
        '{"a":{GOOD}}\0',
        '\ufeff{"a":{GOOD}}',
        '{"a":{GOOD},}',
        '{"a":{GOOD},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}',
        '{"a":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}}',
    ],
)
def test_what_the_library_refuses_is_refused(header: str) -> None:
    raw = file(header.replace("GOOD", GOOD), bytes(4))
    assert theirs(raw) is None and ours(raw) is None


def test_a_header_in_utf_16_is_refused() -> None:
    raw = file('{"a":{GOOD}}'.replace("GOOD", GOOD).encode("utf-16"), bytes(4))
    assert theirs(raw) is None and ours(raw) is None


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (' {"a":{GOOD}}', "must be a JSON object"),  # the format's description: the header begins with {
        ('{"a":{GOOD},"a":{GOOD}}', "got a twice"),  # the same: duplicate keys are disallowed
        ('{"a":["F32",[1],[0,4]]}', "for 'a'"),
        ('{"a":{"dtype":"U16","shape":[2],"data_offsets":[0,4]}}', "the dtype of a"),
        ('{"a":{"dtype":"F32","shape":[' + "1," * 16 + '1],"data_offsets":[0,4]}}', "the shape of 'a'"),
    ],
)
def test_what_only_staging_refuses_is_named(header: str, message: str) -> None:
    raw = file(header.replace("GOOD", GOOD), bytes(4))
    assert theirs(raw) is not None
    with pytest.raises(StagingError, match=message):
        index_safetensors("model.safetensors", BytesSource(raw), "0" * 64)


def test_unknown_fields_and_null_metadata_are_accepted_as_by_the_library() -> None:
    raw = file('{"__metadata__": null, "a":{GOOD,"x":[1,{"y":null}]}}'.replace("GOOD", GOOD), bytes(4))
    assert ours(raw) == theirs(raw) == {"a": ("F32", (1,), bytes(4))}
