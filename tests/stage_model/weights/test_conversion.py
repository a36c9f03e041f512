# pyright: reportUnknownMemberType=false
# torch leaves parameters untyped.
"""Weights are converted in streams without loss: safetensors and torch.save files, any ranges, shared storages."""

import hashlib
import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from stage_model.errors import LossyCastError, StagingError
from stage_model.source.byte_source import BytesSource, Stream
from stage_model.upload.hashing import StreamHasher
from stage_model.weights.safetensors_header import Tensor, WeightFile, index_safetensors
from stage_model.weights.staged_shards import (
    ShardReader,
    first_stream,
    make_shards,
    reread_slots,
    shard_index,
    source_stream,
)
from stage_model.weights.torch_zip import index_torch

Weights = dict[str, torch.Tensor]


def from_half(*shape: int) -> torch.Tensor:
    """Values that came from fp16, as MusicGen's decoder did."""
    return torch.randn(*shape).half().float()


def musicgen_like() -> Weights:
    torch.manual_seed(1)
    return {
        "decoder.layers.0.fc1.weight": from_half(37, 53),
        "decoder.layers.1.fc1.weight": from_half(5, 3, 7),
        "decoder.scale": from_half(1).reshape(()),
        "decoder.empty": torch.zeros(0, 4),
        "text_encoder.shared.weight": torch.randn(11, 7),
        "audio_encoder.counts": torch.arange(9),
        "audio_encoder.flags": torch.tensor([True, False, True]),
        "audio_encoder.tiny": torch.randn(3).bfloat16(),
    }


def torch_file(weights: Weights, path: str = "pytorch_model.bin") -> WeightFile:
    target = io.BytesIO()
    torch.save(weights, target)
    return index_torch(path, BytesSource(target.getvalue()), "0" * 64)


def safetensors_file(weights: Weights, path: str = "model.safetensors") -> WeightFile:
    return index_safetensors(path, BytesSource(save(weights)), "0" * 64)


def convert(
    files: Sequence[WeightFile], dtype: str = "float16", cuts: Sequence[int] = (), max_shard: int = 4_000_000_000
) -> tuple[dict[str, bytes], StreamHasher]:
    """Build all shards from ranges that end at `cuts` of all bytes, and hash them as staging does."""
    shards = make_shards(files, dtype, (), max_shard)
    reread = reread_slots(shards)
    readers = [ShardReader(shard, files, reread) for shard in shards]
    streams = [stream for reader in readers for stream in reader.streams]
    streams += [Stream(source_stream(file), file.source.size) for file in files]
    streams += [Stream(first_stream(slot), slot.tensor.nbytes) for slot in reread if slot.nbytes]
    hasher, built, base = StreamHasher(streams), dict[str, bytes](), 0
    for shard, reader in zip(shards, readers, strict=True):
        data = bytearray(reader.size)
        ends = sorted({min(max(cut - base, 0), reader.size) for cut in cuts} | {reader.size})
        for start, stop in zip([0, *ends], ends, strict=False):
            hasher.update(reader.fill(start, [memoryview(data)[start:stop]]))
        built[shard.path], base = bytes(data), base + reader.size
    hasher.require_all()
    return built, hasher


def equal(staged: Weights, published: Weights) -> bool:
    same_names = set(staged) == set(published)
    return same_names and all(torch.equal(staged[name].to(tensor.dtype), tensor) for name, tensor in published.items())


def test_safetensors_and_torch_files_convert_to_the_same_values_with_a_float16_decoder() -> None:
    weights = musicgen_like()
    from_safetensors = load(convert([safetensors_file(weights)])[0]["model.safetensors"])
    from_torch = load(convert([torch_file(weights)])[0]["model.safetensors"])
    for staged in (from_safetensors, from_torch):
        assert equal(staged, weights)
        assert {t.dtype for n, t in staged.items() if n.startswith("decoder.")} == {torch.float16}
        assert staged["text_encoder.shared.weight"].dtype == torch.float32


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 20_000), max_size=30))
def test_any_ranges_reassemble_to_the_same_bytes_and_hash_each_published_byte_once(cuts: list[int]) -> None:
    weights = musicgen_like()
    weights["decoder.alias"] = weights["decoder.layers.0.fc1.weight"]
    weights["decoder.part"] = weights["decoder.layers.0.fc1.weight"][3]
    file = torch_file(weights)
    whole, _ = convert([file])
    in_ranges, hasher = convert([file], cuts=cuts)
    assert in_ranges == whole
    source = file.source
    assert isinstance(source, BytesSource)
    assert hasher.digest(source_stream(file)) == hashlib.sha256(source.data).hexdigest()


def test_shared_storages_views_and_other_orders_keep_their_values() -> None:
    base, flat = from_half(6, 8), torch.randn(40)
    weights = OrderedDict(
        {
            "decoder.a": base,
            "decoder.transposed": base.t(),
            "decoder.row": base[2],
            "decoder.column": base[:, 3],
            "decoder.step": base[::2, 1::3],
            "decoder.same": base,
            "text_encoder.first": flat[:10],
            "text_encoder.overlapping": flat[5:25],
            "text_encoder.expanded": flat[:1].expand(3, 4),
        }
    )
    assert equal(load(convert([torch_file(weights)])[0]["model.safetensors"]), dict(weights))


def test_a_real_modules_state_dict_converts_with_its_parameters_and_metadata() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    weights = {f"text_encoder.{name}": tensor for name, tensor in module.state_dict().items()}
    target = io.BytesIO()
    torch.save(module.state_dict(), target)
    file = index_torch("pytorch_model.bin", BytesSource(target.getvalue()), "0" * 64)
    staged = load(convert([file], "float32")[0]["model.safetensors"])
    assert equal({f"text_encoder.{name}": tensor for name, tensor in staged.items()}, weights)


def test_shards_stay_below_their_limit_and_the_index_finds_every_tensor() -> None:
    files = [torch_file({f"decoder.{n}.{i}": from_half(30, 40) for i in range(6)}, f"s{n}.bin") for n in range(2)]
    built, _ = convert(files, max_shard=9_000)
    shards = make_shards(files, "float16", (), 9_000)
    assert max(map(len, built.values())) <= 9_000 and len(built) > 2
    index = json.loads(shard_index(shards))
    assert all(name in load(built[path]) for name, path in index["weight_map"].items())
    assert index["metadata"]["total_size"] == 12 * 30 * 40 * 2


def test_a_lossy_cast_is_named() -> None:
    weights = {"decoder.good": from_half(50), "decoder.sinusoids": torch.sin(torch.arange(50.0))}
    with pytest.raises(LossyCastError) as caught:
        convert([safetensors_file(weights)])
    assert caught.value.names == ["decoder.sinusoids"]


@pytest.mark.parametrize("value", [float("inf"), -0.0, 65504.0, 6e-8, 1.0])
def test_every_half_precision_value_survives_the_cast(value: float) -> None:
    weights = {"decoder.x": torch.tensor([value]).half().float()}
    staged = load(convert([safetensors_file(weights)])[0]["model.safetensors"])["decoder.x"]
    assert staged.view(torch.int16).tolist() == torch.tensor([value]).half().view(torch.int16).tolist()


@pytest.mark.parametrize("value", [65520.0, 1e-9, 1.0001, 3.4e38])
def test_values_beyond_half_precision_are_never_cast(value: float) -> None:
    with pytest.raises(LossyCastError):
        convert([safetensors_file({"decoder.x": torch.tensor([value])})])


@pytest.mark.parametrize("kind", ["neg", "conj"])
def test_a_tensor_with_a_negative_or_conjugate_bit_is_refused(kind: str) -> None:
    plain = torch.randn(4, dtype=torch.complex64)
    lazy = torch._neg_view(torch.randn(4)) if kind == "neg" else plain.conj()  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
    assert lazy.is_neg() or lazy.is_conj()
    with pytest.raises(StagingError, match=r"a negative or conjugate bit|must refer to storages of known types"):
        torch_file({"text_encoder.a": lazy})


def test_the_imaginary_part_of_a_conjugate_is_refused_since_its_storage_holds_the_other_sign() -> None:
    imaginary = torch.randn(4, dtype=torch.complex64).conj().imag
    assert imaginary.is_neg() and imaginary.dtype == torch.float32
    target = io.BytesIO()
    torch.save({"text_encoder.a": imaginary}, target)
    with pytest.raises(StagingError, match=r"without a negative or conjugate bit, got .*'neg': True"):
        index_torch("pytorch_model.bin", BytesSource(target.getvalue()), "0" * 64)


def test_a_tensor_named_as_safetensors_metadata_is_refused() -> None:
    with pytest.raises(StagingError, match="no tensor may be named __metadata__"):
        make_shards([torch_file({"__metadata__": torch.ones(3)})], "float16", ())


def test_a_name_that_utf_8_cannot_hold_is_refused() -> None:
    target = io.BytesIO()
    torch.save({"decoder.\ud800": torch.ones(3)}, target)
    with pytest.raises(StagingError, match=r"names in UTF-8, got 'decoder\.\\ud800'"):
        index_torch("pytorch_model.bin", BytesSource(target.getvalue()), "0" * 64)


class _Counted(str):
    """A name that counts how often it is compared."""

    comparisons = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        _Counted.comparisons += 1
        return str.__eq__(self, other)


def test_looking_up_the_tensors_that_keep_float32_takes_one_comparison_each() -> None:
    count = 500
    names = tuple(_Counted(f"decoder.{index}") for index in range(count))
    file = safetensors_file({name: torch.ones(1) for name in map(str, names)})
    _Counted.comparisons = 0
    (shard,) = make_shards([file], "float16", names)
    assert {slot.dtype for slot in shard.slots} == {"F32"}
    assert count <= _Counted.comparisons <= 3 * count


class _Evil:
    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._reduced = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self._reduced


def archive(pickled: bytes, **members: bytes) -> BytesSource:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        for name, data in members.items():
            file.writestr(f"archive/{name}", data)
    return BytesSource(target.getvalue())


@pytest.mark.parametrize(
    ("function", "arguments"),
    [(print, ("executed",)), (eval, ("1/0",)), (bytearray, (3,)), (getattr, (str, "mro"))],
)
def test_a_pickle_that_calls_a_function_is_rejected_by_name(
    function: Callable[..., Any], arguments: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    source = archive(pickle.dumps({"a": _Evil(function, *arguments)}, 2))
    with pytest.raises(StagingError, match=function.__name__):
        index_torch("pytorch_model.bin", source, "0" * 64)
    assert capsys.readouterr().out == ""


def test_views_that_repeat_a_storage_are_rejected_before_they_are_copied() -> None:
    one = torch.zeros(1)
    with pytest.raises(StagingError, match="that is not in row-major order would need 33554436 bytes of memory, got"):
        torch_file({f"decoder.{i}": one.expand(1 << 23) for i in range(6)})


def test_a_file_of_mostly_other_data_is_rejected() -> None:
    class Sparse:
        size = 100 << 20

        def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
            raise AssertionError("it must not be read")

    places = [Tensor(f"text_encoder.{i}", "F32", (1,), i << 20) for i in range(1, 100)]
    with pytest.raises(StagingError, match="must hold at most 16777216 bytes that are not tensors', got 104857204"):
        make_shards([WeightFile("pytorch_model.bin", Sparse(), "0" * 64, places)], "float16", ())


def test_strides_may_be_large_if_the_tensor_is_small() -> None:
    file = torch_file({"decoder.w": torch.zeros(2, 3, 70, 80, 9, 8).to(torch.int8)})
    assert [tensor.shape for tensor in file.tensors] == [(2, 3, 70, 80, 9, 8)]


def test_excessively_nested_marks_are_rejected_at_once() -> None:
    with pytest.raises(StagingError, match="over 100 marks"):
        index_torch("pytorch_model.bin", archive(b"\x80\x02" + b"(" * 5_000_000 + b"."), "0" * 64)


def test_tuples_on_a_deep_stack_take_constant_time_each() -> None:
    pickled = b"\x80\x02" + b"N" * 300_000 + b"(t" * 300_000 + b"."
    with pytest.raises(StagingError, match="must be well-formed"):
        index_torch("pytorch_model.bin", archive(pickled), "0" * 64)


def test_a_pickle_nested_into_itself_is_rejected_at_once() -> None:
    bomb = b"\x80\x02)" + b"2".replace(b"2", b"q\x00h\x00\x86") * 60 + b"."
    with pytest.raises(StagingError, match="must hold a state dict"):
        index_torch("pytorch_model.bin", archive(bomb), "0" * 64)


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02N.",
        b"\x80\x02}q\x00h\x07.",
        b"\x80\x02\x86.",
        b"\xff" * 50,
        b"\x80\x02}K\x01K\x02s.",
    ],
)
def test_malformed_pickles_are_rejected(pickled: bytes) -> None:
    with pytest.raises(StagingError):
        index_torch("pytorch_model.bin", archive(pickled), "0" * 64)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_torch_file_is_converted_or_rejected(data: st.DataObject) -> None:
    target = io.BytesIO()
    torch.save({"decoder.a": from_half(4, 5), "b": torch.arange(3)}, target)
    raw = bytearray(target.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        file = index_torch("pytorch_model.bin", BytesSource(bytes(raw)), "0" * 64)
        convert([file])
    except (StagingError, LossyCastError):
        return
    assert len(file.tensors) == 2


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[]", "object"),
        (b"{}", "1 to"),
        (b'{"a":3}', "object, got '3}' for 'a'"),
        (b'{"a":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}}', "dtype"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', "data_offsets"),
        (b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', "shape"),
        (b'{"a":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]}}', "elements"),
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', "begin"),
        (b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}', "end with the file"),
        (b"{" * 5000, "JSON"),
    ],
)
def test_malformed_safetensors_headers_are_rejected_by_what_is_wrong(header: bytes, message: str) -> None:
    source = BytesSource(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(StagingError, match=message):
        index_safetensors("model.safetensors", source, "0" * 64)


@pytest.mark.parametrize("length", [0, 1, 2**63, 2**64 - 1, 40 << 20])
def test_absurd_header_lengths_are_rejected(length: int) -> None:
    with pytest.raises(StagingError, match="header"):
        index_safetensors("model.safetensors", BytesSource(length.to_bytes(8, "little") + bytes(64)), "0" * 64)


def test_a_compressed_member_is_rejected() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b"\x80\x02}." + bytes(1000))
    with pytest.raises(StagingError, match="stored plainly"):
        index_torch("pytorch_model.bin", BytesSource(target.getvalue()), "0" * 64)


def test_a_source_that_changes_between_two_reads_is_detected() -> None:
    class Fickle(BytesSource):
        def read_into(self, offset: int, views: Any) -> None:
            super().read_into(offset, views)
            if offset > 200 and len(views[0]) == 96:
                reads.append(offset)
                views[0][0] ^= len(reads) & 1

    reads: list[int] = []
    base = torch.randn(4, 6)
    target = io.BytesIO()
    torch.save({"text_encoder.a": base, "text_encoder.z": base}, target)
    file = index_torch("pytorch_model.bin", Fickle(target.getvalue()), "0" * 64)
    with pytest.raises(StagingError, match="twice"):
        convert([file])
