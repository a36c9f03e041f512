"""No repository makes staging need over 200 MiB more memory than a small model does: one line per hostile input."""

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from safetensors.numpy import save

from local_aws.hub import LoopbackHub, Repository
from tests.stage_model.conftest import BUNDLE, REVISION, decoder_like
from tests.stage_model.fakes.lambda_runner import Lambda, bundle
from tests.stage_model.fakes.measured_runs import MeasuredRuns, Measurement
from tests.stage_model.fakes.response_sink import ResponseSink
from tests.stage_model.fakes.s3 import LoopbackS3

MIB = 1 << 20
LIMIT = 200 * MIB
Files = Mapping[str, bytes]
FLOAT = b"\0\0\x80?"  # 1.0
CONFIG = json.dumps({"model_type": "musicgen"}).encode()


def header(text: bytes, data: bytes = b"") -> bytes:
    """Return a safetensors file."""
    return len(text).to_bytes(8, "little") + text + data


def entry(name: str, index: int) -> bytes:
    """Return the entry of a tensor of one float."""
    where = f'"data_offsets":[{4 * index},{4 * index + 4}]'
    return f'{json.dumps(name, ensure_ascii=False)}:{{"dtype":"F32","shape":[1],{where}}}'.encode()


def tensors(count: int, name: str = "decoder.{}", values: bytes = FLOAT, metadata: bytes = b"") -> bytes:
    """Return a safetensors file with `count` tensors of one float."""
    rows = [entry(name.format(index), index) for index in range(count)]
    return header(b"{" + b",".join([metadata, *rows] if metadata else rows) + b"}", values * count)


def torch_zip(pickled: bytes, storages: Mapping[str, bytes] = {}, extra: int = 0) -> bytes:
    """Return a file as torch.save writes it, with `extra` members more."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("a/data.pkl", pickled)
        for key, data in storages.items():
            file.writestr(f"a/data/{key}", data)
    if not extra:
        return target.getvalue()
    raw = target.getvalue()
    directory = b"".join(
        struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
        + b"%07x" % index
        for index in range(extra)
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, extra & 0xFFFF, extra & 0xFFFF, len(directory), len(raw), 0)
    return raw + directory + end


def torch_pickle(tensors: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the pickle of a state dict: names, and offset, shape and stride as opcodes, of views of one float."""
    function, storage = b"ctorch._utils\n_rebuild_tensor_v2\nq\2", b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
    storage += b"0X\3\0\0\0cpuK\1tQq\1"
    rows = list[bytes]()
    for name, view in tensors:
        begin = b"h\2(h\1" if rows else function + b"(" + storage
        rows.append(b"X" + struct.pack("<I", len(name)) + name + begin + view + b"\x89NtR")
    return b"\x80\2}(" + b"".join(rows) + b"u."


WHOLE = b"K\0K\1\x85K\1\x85"


def shared(count: int) -> bytes:
    """Return a file whose tensors are one storage."""
    return torch_zip(torch_pickle([(b"decoder.%05d" % index, WHOLE) for index in range(count)]), {"0": FLOAT})


def padded(number: int, size: int) -> bytes:
    """Return a file with one tensor and `size` bytes of other data."""
    return torch_zip(torch_pickle([(b"decoder.%d" % number, WHOLE)]), {"0": FLOAT, "unused": bytes(size)})


def expanded(size: int) -> bytes:
    """Return a file whose four tensors repeat one float to `size` bytes in total."""
    view = b"K\0J" + struct.pack("<I", size // 16) + b"\x85K\0\x85"
    return torch_zip(torch_pickle([(b"decoder.%d" % index, view) for index in range(4)]), {"0": FLOAT})


def sharded(shards: Files, index: bytes | None = None, kind: str = "model.safetensors") -> Files:
    """Return weights with an index that names them."""
    names = json.dumps({"weight_map": {name: name for name in shards}}).encode() if index is None else index
    return {f"{kind}.index.json": names, **shards}


def numbered(count: int) -> list[str]:
    return [f"model-{number:05d}.safetensors" for number in range(1, count + 1)]


@cache
def honest() -> Files:
    return {"model.safetensors": save(decoder_like(1))}


def musicgen_large() -> Files:
    """Files, tensors and names as many and as large as facebook/musicgen-large's, with 96 MiB of weights."""
    layers = "self_attn.k_proj self_attn.v_proj self_attn.q_proj self_attn.out_proj self_attn_layer_norm encoder_attn"
    names = [f"decoder.model.decoder.layers.{n}.{part}.weight" for n in range(110) for part in layers.split()]
    names += [f"text_encoder.encoder.block.{n}.layer.0.SelfAttention.{p}.weight" for n in range(160) for p in "qkvo"]
    shards = list[bytes]()
    for first in range(3):
        mine = names[first::3]
        rows = b",".join(entry(name, index) for index, name in enumerate(mine))
        filler = f'"decoder.filler.{first}":{{"dtype":"F32","shape":[{8 * MIB}],"data_offsets":[{4 * len(mine)},'
        filler += f"{4 * len(mine) + 32 * MIB}]}}}}"
        shards.append(header(b"{" + rows + b"," + filler.encode(), FLOAT * (len(mine) + 8 * MIB)))
    files = dict(zip(numbered(3), shards, strict=True))
    places = {name: numbered(3)[index % 3] for index, name in enumerate(names)}
    index = json.dumps({"metadata": {}, "weight_map": places}, indent=2).encode()
    words = json.dumps({"vocab": [["▁word" + str(number), -1.5] for number in range(90_000)]}).encode()
    return {**sharded(files, index), "tokenizer.json": words, "spiece.model": bytes(800_000)}


def names_of(count: int, length: int) -> bytes:
    return tensors(count, f"{{:0{length}}}")


def wide_metadata() -> bytes:
    pairs = b",".join(b'"k%06d":"v"' % index for index in range(500_000))
    return tensors(3, metadata=b'"__metadata__":{' + pairs + b"}")


def nested(depth: int, count: int) -> bytes:
    """Return JSON arrays nested `depth` deep, `count` of them."""
    return b"[" + b",".join([b"[" * depth + b"]" * depth] * count) + b"]"


def flood(*opcodes: bytes) -> Files:
    return {"pytorch_model.bin": torch_zip(b"\x80\2" + b"".join(opcodes) + b".")}


def text_opcode(size: int) -> bytes:
    """Return the opcode of a text that takes four bytes per character in memory."""
    return b"X" + struct.pack("<I", size) + "🎵".encode() + bytes(size - 4)


def with_config(config: bytes) -> Files:
    return {**honest(), "config.json": config}


def memo(count: int) -> bytes:
    return b"N" + b"".join(b"r" + struct.pack("<I", index) for index in range(count))


STAGED = None
BUDGET, RANGE = r"would need \d+ bytes of memory, got \d+ left", r"must be at most \d+ bytes, got "
CASES: dict[str, tuple[Callable[[], Files], str | None]] = {
    "a model as large as musicgen-large": (musicgen_large, STAGED),
    "a header of 31 MiB": (lambda: {"model.safetensors": names_of(99_000, 260)}, "must be 2 to 16777216 bytes"),
    "a header of 15 MiB": (lambda: {"model.safetensors": names_of(70_000, 140)}, BUDGET),
    "64 headers of 2 MiB": (lambda: sharded(dict.fromkeys(numbered(64), names_of(9_000, 160))), BUDGET),
    "a header of empty arrays": (
        lambda: {"model.safetensors": header(b'{"a":[' + b"[]," * 5_000_000 + b"[]]}")}, "must be a JSON object"),
    "an entry of nested arrays": (
        lambda: {"model.safetensors": header(b'{"a":{"b":' + nested(900, 9000) + b"}}")}, "up to 4096 characters"),
    "metadata with 500,000 keys": (lambda: {"model.safetensors": wide_metadata()}, STAGED),
    "names of a kilobyte": (lambda: {"model.safetensors": names_of(13_000, 1100)}, BUDGET),
    "names of 5 MiB in total": (lambda: {"model.safetensors": names_of(5_000, 1100)}, "the names of all tensors"),
    "a name of 12 MiB in four-byte characters": (
        lambda: {"model.safetensors": tensors(1, "decoder" + "🎵" * (3 * MIB))}, BUDGET),
    "one name 150,000 times": (lambda: {"model.safetensors": tensors(150_000, "a")}, "every tensor once, got a twice"),
    "offsets of 3,900 digits": (lambda: {"model.safetensors": header(b"{" + b",".join(
        b'"t%d":{"dtype":"F32","shape":[1],"data_offsets":[0,%s]}' % (n, b"9" * 3900) for n in range(4000)) + b"}")},
        "for 't0'"),
    "100,000 tensors that keep float32": (lambda: {"model.safetensors": tensors(100_000, values=b"\1\0\x80?")}, STAGED),
    "a zip directory of 16 MiB": (lambda: {"pytorch_model.bin": torch_zip(b"N.", extra=300_000)}, BUDGET),
    "a zip directory of 2 MiB": (lambda: {"pytorch_model.bin": torch_zip(b"N.", extra=40_000)}, "one data.pkl"),
    "a pickle of 5,000,000 dictionaries": (lambda: flood(b"}" * 4_900_000), BUDGET),
    "a pickle of 1,500,000 memo entries": (lambda: flood(memo(1_500_000)), BUDGET),
    "a pickle of 4,900,000 nested tuples": (lambda: flood(b"N" + b"\x85" * 4_900_000), BUDGET),
    "a pickle of a 60 MiB text": (lambda: flood(text_opcode(60 * MIB)), RANGE),
    "a pickle of a 7 MiB text": (lambda: flood(text_opcode(7 * MIB)), "must hold a state dict"),
    "a pickle of a 7 MiB name": (lambda: flood(b"c" + b"a" * (7 * MIB) + b"\nb\n"), "must hold a state dict"),
    "60,000 views of one storage": (lambda: {"pytorch_model.bin": shared(60_000)}, "at most 1000 tensors may share"),
    "2,000 views of one storage": (lambda: {"pytorch_model.bin": shared(2_000)}, "at most 1000 tensors may share"),
    "200 MiB of repeated elements": (lambda: {"pytorch_model.bin": expanded(200 * MIB)}, BUDGET),
    "six files of 40 MiB with one float each": (
        lambda: sharded({f"p{n}.bin": padded(n, 40 * MIB) for n in range(6)}, kind="pytorch_model.bin"),
        "must hold at most 16777216 bytes that are not tensors'"),
    "an index of 16 MiB": (lambda: sharded({}, b'{"weight_map":{' + b",".join(
        b'"%07d":"a"' % n for n in range(1_100_000)) + b"}}"), BUDGET),
    "an index of empty objects": (lambda: sharded({}, b'{"weight_map":[' + b"{}," * 5_500_000 + b"{}]}"), BUDGET),
    "a config.json of empty objects": (lambda: with_config(b'{"a":[' + b"{}," * 5_500_000 + b"{}]}"), BUDGET),
    "a config.json of 40,000 empty objects": (lambda: with_config(b'{"a":[' + b"{}," * 40_000 + b"{}]}"), STAGED),
    "a config.json that indentation multiplies": (lambda: with_config(b'{"a":' + nested(900, 500) + b"}"), "at most"),
    "a tokenizer.json of 15 MiB": (lambda: {**honest(), "tokenizer.json": bytes(15 * MIB)}, STAGED),
    "16 support files of 15 MiB": (
        lambda: {**honest(), **dict.fromkeys([f"f{n}.json" for n in range(16)], bytes(15 * MIB))}, BUDGET),
    "180 support files of 15 MiB": (
        lambda: {**honest(), **dict.fromkeys([f"f{n}.json" for n in range(180)], bytes(15 * MIB))}, "at most 100 conf"),
    "35,000 empty files": (
        lambda: {**honest(), **dict.fromkeys([f"f{n}.json" for n in range(35_000)], b"")}, "at most 100 conf"),
    "100,000 empty files": (lambda: {**honest(), **dict.fromkeys([f"f{n}.json" for n in range(100_000)], b"")}, RANGE),
}  # fmt: skip


class Stage:
    """Stages repositories, each in a process of its own."""

    def __init__(self, hub: LoopbackHub, s3: LoopbackS3, sink: ResponseSink, runs: MeasuredRuns) -> None:
        self.hub, self.lambda_, self._runs = hub, Lambda(hub, s3, sink), runs
        self._requests = 0

    def __call__(self, files: Files) -> tuple[Measurement, dict[str, Any]]:
        """Return what staging these files takes, and its response."""
        repository, known = self.hub.repository, dict[int, Any]()
        repository.files.clear()
        for path, data in {"config.json": CONFIG, **files}.items():
            if id(data) not in known:  # hash equal files once
                repository.write(path, data, lfs=not path.endswith(".json"))
                known[id(data)] = repository.files[path]
            repository.files[path] = replace(known[id(data)], path=path)
        self._requests += 1
        self.lambda_.s3.objects = {"assets/bundle.zip": bundle(BUNDLE)}
        self.lambda_.sink.responses.clear()
        measured = self._runs.run(self.lambda_.event("Create", f"r{self._requests}"))
        responses = self.lambda_.sink.responses
        return measured, responses[-1] if responses else {"Status": "NONE", "Reason": "no response"}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    repository = Repository("facebook/musicgen-tiny", REVISION, {})
    with LoopbackHub(repository) as hub, LoopbackS3() as s3, ResponseSink() as sink:
        environment = {
            "HF_ENDPOINT": hub.url, "AWS_ENDPOINT_URL": s3.url, "AWS_ACCESS_KEY_ID": "test", "AWS_REGION": "us-east-1",
            "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
        }  # fmt: skip
        with MeasuredRuns(environment) as runs:
            yield Stage(hub, s3, sink, runs)


@pytest.fixture(scope="module")
def baseline(stage: Stage) -> int:
    """The peak memory of staging a small model, in bytes."""
    measured, response = stage(honest())
    assert response["Status"] == "SUCCESS", response
    return measured.peak


@pytest.mark.parametrize("name", CASES)
def test_takes_at_most_200_mib_more_than_a_small_model(name: str, stage: Stage, baseline: int) -> None:
    files, refusal = CASES[name]
    measured, response = stage(files())
    more, reason = measured.peak - baseline, response.get("Reason", "")
    print(f"{name:45} {more / MIB:+7.0f} MiB {measured.cpu_s:6.1f} s CPU  {response['Status']} {reason[:150]}")
    assert more <= LIMIT
    if refusal is None:
        assert response["Status"] == "SUCCESS", reason
    else:
        assert response["Status"] == "FAILED" and re.search(refusal, reason), reason
        assert "unexpected" not in reason
