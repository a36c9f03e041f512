"""The decoder's weights, read from safetensors files by several threads straight into fused matrices on the device.

No file is ever in memory as a whole: each chunk goes through a small buffer. For a GPU the buffers are pinned and
copied on a stream of their own, so one is filled while another is copied.
"""

import json
import math
import os
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Self

import torch

from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.quantisation import UNPACKED, Matrix, MatrixName, Packing

CHUNK = 4 * 2**20  # bytes: large enough for a disk and PCIe to reach full speed
READERS = 4  # enough to keep an NVMe disk or the page cache busy; each has one buffer being read and one being copied
PREFIX = "decoder.model.decoder."
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


@dataclass(frozen=True)
class Norm:
    """A layer norm's scale and shift, [H] each."""

    weight: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """One layer of a melody model; matrices are [out, in], and projections of the same input are one matrix."""

    self_norm: Norm
    qkv: Matrix  # [3H, H]
    self_out: Matrix  # [H, H]
    ffn_norm: Norm
    ffn_in: Matrix  # [F, H]
    ffn_out: Matrix  # [H, F]


@dataclass(frozen=True, kw_only=True)
class CrossLayerWeights(LayerWeights):
    """One layer of any other model, which attends to the text between self-attention and the feed-forward part."""

    cross_norm: Norm
    cross_q: Matrix  # [H, H]
    cross_kv: Matrix  # [2H, H]
    cross_out: Matrix  # [H, H]


@dataclass(frozen=True, kw_only=True)
class DecoderWeights:
    """The whole decoder.

    `project` maps text states to the decoder's width, None if the widths are equal; `chroma` maps a melody's frames.
    """

    embeddings: torch.Tensor  # [K * (V + 1), H], the codebooks' tables stacked
    positions: torch.Tensor  # [P, H]
    layers: tuple[LayerWeights, ...]
    final_norm: Norm
    heads: Matrix  # [K * V, H], one matrix product for all codebooks
    project: Norm | None  # weight [H, T5's width] and bias [H], in float32
    chroma: Norm | None = None  # weight [H, chroma bins] and bias [H], in float32; of a melody model only

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of activations and KV caches."""
        return self.embeddings.dtype

    @property
    def device(self) -> torch.device:
        return self.embeddings.device


def load_decoder(
    files: "WeightFiles", config: DecoderConfig, device: torch.device, dtype: torch.dtype, positions: int,
    packing: Packing = UNPACKED,
) -> DecoderWeights:  # fmt: skip
    """Read the decoder's fused matrices onto the device in `dtype`, and pack them one by one."""

    def stacked(*names: str, dtype: torch.dtype = dtype) -> torch.Tensor:
        return files.read_stacked(list(names), device, dtype)

    def norm(name: str, dtype: torch.dtype = dtype) -> Norm:
        return Norm(stacked(f"{name}.weight", dtype=dtype), stacked(f"{name}.bias", dtype=dtype))

    def layer(name: str) -> LayerWeights:
        def matrix(field: MatrixName, module: str, *parts: str) -> Matrix:
            return packing.pack(field, stacked(*(f"{name}{module}{part}.weight" for part in parts or ("",))))

        own = LayerWeights(
            self_norm=norm(f"{name}self_attn_layer_norm"),
            qkv=matrix("qkv", "self_attn", ".q_proj", ".k_proj", ".v_proj"),
            self_out=matrix("self_out", "self_attn.out_proj"),
            ffn_norm=norm(f"{name}final_layer_norm"),
            ffn_in=matrix("ffn_in", "fc1"),
            ffn_out=matrix("ffn_out", "fc2"),
        )
        if config.melody:
            return own
        return CrossLayerWeights(
            **vars(own),
            cross_norm=norm(f"{name}encoder_attn_layer_norm"),
            cross_q=matrix("cross_q", "encoder_attn.q_proj"),
            cross_kv=matrix("cross_kv", "encoder_attn", ".k_proj", ".v_proj"),
            cross_out=matrix("cross_out", "encoder_attn.out_proj"),
        )

    codebooks = range(config.codebooks)
    return DecoderWeights(
        embeddings=stacked(*(f"{PREFIX}embed_tokens.{codebook}.weight" for codebook in codebooks)),
        positions=sinusoids(positions, config.hidden).to(device, dtype),
        layers=tuple(layer(f"{PREFIX}layers.{index}.") for index in range(config.layers)),
        final_norm=norm(f"{PREFIX}layer_norm"),
        heads=packing.pack("heads", stacked(*(f"decoder.lm_heads.{codebook}.weight" for codebook in codebooks))),
        project=norm("enc_to_dec_proj", torch.float32) if files.names("enc_to_dec_proj.") else None,
        chroma=norm("audio_enc_to_dec_proj", torch.float32) if config.melody else None,
    )


def sinusoids(positions: int, width: int) -> torch.Tensor:
    """Return position embeddings [positions, width]: cosines, then sines, as in tensor2tensor.

    The frequencies fall from 1 to 1/10000 over width/2 steps, both ends included.
    """
    half = width // 2
    frequencies = torch.exp(torch.arange(half).float() * -(math.log(10000) / (half - 1)))
    angles = torch.arange(positions).float()[:, None] * frequencies[None]  # [positions, half]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file."""

    file: int
    offset: int
    nbytes: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class WeightFiles:
    """The tensors of `model*.safetensors` in a folder; `bytes_read` counts what was read. Thread-safe."""

    def __init__(self, folder: Path, device: torch.device | None = None) -> None:
        paths = sorted(folder.glob("model*.safetensors"))
        if not paths:
            raise ValueError(f"{folder} must hold model*.safetensors, got none")
        self._files = [os.open(path, os.O_RDONLY) for path in paths]
        self._tensors: dict[str, StoredTensor] = {}
        for file, path in zip(self._files, paths, strict=True):
            self._tensors |= read_header(file, path)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="weights")
        self._buffers = StagingBuffers(2 * READERS, device or torch.device("cpu"))
        self._lock, self._active_reads, self._since = threading.Lock(), 0, 0.0
        self.bytes_read, self.seconds = 0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._readers.shutdown()
        for file in self._files:
            os.close(file)

    def names(self, prefix: str) -> list[str]:
        """Return the tensors' names that start with a prefix."""
        return [name for name in self._tensors if name.startswith(prefix)]

    def read(self, name: str) -> torch.Tensor:
        """Return one tensor as stored, on the host; raise ValueError if the checkpoint does not have it."""
        stored = self._stored(name)
        tensor = torch.empty(stored.shape, dtype=stored.dtype)
        self._fill([(tensor, stored)])
        return tensor

    def read_stacked(self, names: list[str], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """Return tensors stacked along the first dimension, on the device; its later work there sees them filled."""
        parts = [self._stored(name) for name in names]
        rows = [part.shape[0] for part in parts]
        whole = torch.empty((sum(rows), *parts[0].shape[1:]), device=device, dtype=dtype)
        self._fill(list(zip(torch.split(whole, rows), parts, strict=True)))
        return whole

    def throughput(self) -> dict[str, float | int]:
        """Return the bytes read so far, the seconds in which anything was read, and gigabytes per second."""
        return {
            "bytes": self.bytes_read,
            "read_seconds": round(self.seconds, 3),
            "gigabytes_per_second": round(self.bytes_read / self.seconds / 1e9, 3) if self.seconds else 0,
        }

    @contextmanager
    def _timed(self, nbytes: int) -> Generator[None]:
        """Count bytes read here, and the time, which concurrent reads share."""
        with self._lock:
            self._since = time.monotonic() if self._active_reads == 0 else self._since
            self._active_reads += 1
        try:
            yield
        finally:
            with self._lock:
                self._active_reads -= 1
                self.bytes_read += nbytes
                self.seconds += time.monotonic() - self._since if self._active_reads == 0 else 0

    def _stored(self, name: str) -> StoredTensor:
        if name not in self._tensors:
            raise ValueError(f"the checkpoint must hold the tensor {name}, got none of that name")
        return self._tensors[name]

    def _fill(self, parts: list[tuple[torch.Tensor, StoredTensor]]) -> None:
        """Read every part into its tensor: small ones in this thread, large ones in several."""
        chunks = [(tensor, stored, start) for tensor, stored in parts for start in range(0, stored.nbytes, CHUNK)]
        size = sum(stored.nbytes for _, stored in parts)
        with self._timed(size), self._buffers.transfer(parts[0][0].device) as put:
            if len(chunks) == len(parts):
                for chunk in chunks:
                    put(*chunk)
            else:
                for done in [self._readers.submit(put, *chunk) for chunk in chunks]:
                    done.result()


def read_header(file: int, path: Path) -> dict[str, StoredTensor]:
    """Return a file's tensors (https://huggingface.co/docs/safetensors, "Format"); raise ValueError if it is cut."""
    size = os.fstat(file).st_size
    length = int.from_bytes(os.pread(file, 8, 0), "little")
    if size < 8 or length > size - 8:
        raise ValueError(f"{path} must be a whole safetensors file, got {size} bytes with a header of {length}")
    header = json.loads(os.pread(file, length, 8))
    header.pop("__metadata__", None)
    tensors: dict[str, StoredTensor] = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        if entry["dtype"] not in _DTYPES or not first <= last <= size - 8 - length:
            raise ValueError(f"{path} must hold {name} in a type of torch and in full, got {entry} of {size} bytes")
        shape = tuple(entry["shape"])
        tensors[name] = StoredTensor(file, 8 + length + first, last - first, _DTYPES[entry["dtype"]], shape)
    return tensors


def require_all(prefix: str, missing: list[str]) -> None:
    """Raise ValueError if a module's tensors are missing from the checkpoint."""
    if missing:
        names = ", ".join(prefix + name for name in missing[:3])
        raise ValueError(f"the checkpoint must hold every tensor of {prefix}*, got {len(missing)} missing: {names}")


@dataclass
class Buffer:
    """Memory of one chunk, free again after `copied`."""

    memory: torch.Tensor  # [CHUNK], uint8
    copied: torch.cuda.Event | None = None


Put = Callable[[torch.Tensor, StoredTensor, int], None]
"""Copy the chunk that starts at a byte of a stored tensor to its place in a contiguous tensor of any dtype."""


class StagingBuffers:
    """A pool of buffers for reading threads, allocated when first needed."""

    def __init__(self, count: int, device: torch.device) -> None:
        self._pinned = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._pinned else None
        self._free: SimpleQueue[Buffer | None] = SimpleQueue()
        for _ in range(count):
            self._free.put(None)

    @contextmanager
    def transfer(self, device: torch.device) -> Generator[Put]:
        """Yield what copies chunks to a device; the caller's later work there runs after all of them."""
        stream = self._stream if device.type == "cuda" else None
        if stream is not None:
            stream.wait_stream(torch.cuda.current_stream(device))  # the memory may still be in use by its last owner

        def put(target: torch.Tensor, stored: StoredTensor, start: int) -> None:
            with torch.cuda.stream(stream):  # None changes nothing
                self._put(target, stored, start)

        yield put
        if stream is not None:
            torch.cuda.current_stream(device).wait_stream(stream)

    def _put(self, target: torch.Tensor, stored: StoredTensor, start: int) -> None:
        buffer = self._free.get() or Buffer(torch.empty(CHUNK, dtype=torch.uint8, pin_memory=self._pinned))
        try:
            if buffer.copied is not None:
                buffer.copied.synchronize()
            count = min(CHUNK, stored.nbytes - start)
            read_exactly(stored.file, buffer.memory[:count], stored.offset + start)
            chunk, first = buffer.memory[:count].view(stored.dtype), start // stored.dtype.itemsize
            place = target.view(-1)[first : first + chunk.numel()]
            if place.device.type == "cuda" and place.dtype != chunk.dtype:
                chunk = chunk.to(place.device, non_blocking=True)  # converted there
            place.copy_(chunk, non_blocking=True)
            if self._pinned:
                buffer.copied = torch.cuda.Event(blocking=True)
                buffer.copied.record()
        finally:
            self._free.put(buffer)


def read_exactly(file: int, memory: torch.Tensor, offset: int) -> None:
    """Fill memory [bytes] from a file at an offset; raise OSError if the file is too short."""
    view, done = memoryview(memory.numpy()), 0  # pyright: ignore[reportArgumentType]
    while done < len(view):
        count = os.preadv(file, [view[done:]], offset + done)
        if count == 0:
            raise OSError(f"a file of weights must have {offset + len(view)} bytes, got {offset + done}")
        done += count
