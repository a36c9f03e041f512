"""Test the formula for memory against what is really allocated, and the formula of the stack's configuration."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import ctypes
import itertools
import resource
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast, get_args

import pytest
import torch

from infra.config import capacity as configured
from infra.config import models as configured_models
from infra.config.capacity import InstanceCapacity
from infra.config.instances import INSTANCE_TYPES, has_gpu, memory_bytes
from infra.config.models import ELEMENT_BYTES as CONFIGURED_ELEMENT_BYTES
from infra.config.models import SERVED_MODELS, Model, find_model
from musicgen_serving.engine.generator import MAX_SLOTS, Capacity
from musicgen_serving.engine.loading import RESERVED, WeightFormat
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.cpu_matrices import (
    PACKINGS,
    Float16Matrix,
    Float32Matrix,
    Int8Matrix,
    has_fbgemm,
)
from musicgen_serving.engine.model.memory import (
    ELEMENT_BYTES,
    clip_pages,
    clip_sizes,
    decoder_bytes,
    page_bytes,
    pages_that_fit,
    slot_bytes,
)
from musicgen_serving.engine.model.quantisation import MatrixName
from musicgen_serving.engine.sampling_params import MAX_NEW_TOKENS, MAX_TEXT_TOKENS
from musicgen_serving.engine.step.page_allocator import PageAllocator
from musicgen_serving.engine.step.slots import Slots, allocate
from tests.model_bundle.helpers.random_weights import eight_bit, random_weights

CPU, META = torch.device("cpu"), torch.device("meta")
TINY = DecoderConfig(layers=3, hidden=32, heads=2, ffn=48, vocabulary=16, codebooks=8, channels=2, pad_token=16)
SMALL = DecoderConfig(
    layers=24, hidden=1024, heads=16, ffn=4096, vocabulary=2048, codebooks=4, channels=1, pad_token=2048
)
LARGE = replace(SMALL, layers=48, hidden=2048, heads=32, ffn=8192)
MONO = {"small": SMALL, "medium": replace(SMALL, layers=48, hidden=1536, heads=24, ffn=6144), "large": LARGE}
STEREO = {f"stereo-{size}": replace(config, codebooks=8, channels=2) for size, config in MONO.items()}
FROM = {"melody": "medium", "melody-large": "large", "stereo-melody": "stereo-medium"}
FROM["stereo-melody-large"] = "stereo-large"
MELODY = {
    name: replace((MONO | STEREO)[size], chroma_frames=235, chroma_bins=12) for name, size in FROM.items()
}  # fmt: skip
PUBLISHED = MONO | STEREO | MELODY
TINY_MELODY = replace(TINY, chroma_frames=20, chroma_bins=12)
SMALL_MELODY = replace(SMALL, chroma_frames=235, chroma_bins=12)
LONGEST = (MAX_NEW_TOKENS, MAX_TEXT_TOKENS)


def storage_bytes(slots: Slots) -> int:
    tensors = [*slots.kv, *slots.per_slot().values()]
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) in (len(tensors), 1)  # 1: on meta
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


@pytest.mark.parametrize(
    ("config", "device", "dtype", "slots", "sizes", "pages"),
    [
        (TINY, CPU, torch.float32, 3, (200, 140), 17),
        (TINY, CPU, torch.float16, 1, (64, 1), 4),
        (TINY_MELODY, CPU, torch.float32, 2, (20 + 140 + 200, 0), 7),
        (SMALL, META, torch.float32, 8, LONGEST, 100),
        (LARGE, META, torch.float16, 32, LONGEST, 280),
    ],
)
def test_pages_and_slots_take_the_bytes_that_are_allocated(
    config: DecoderConfig, device: torch.device, dtype: torch.dtype, slots: int, sizes: tuple[int, int], pages: int
) -> None:
    allocated = storage_bytes(allocate(config, slots, *sizes, device, dtype, pages))
    assert allocated == pages * page_bytes(config, dtype.itemsize) + slots * slot_bytes(config, *sizes)


def tensors_of(part: Any) -> Iterator[torch.Tensor]:
    """Return every tensor of nested data classes and tuples."""
    if isinstance(part, torch.Tensor):
        yield part
    elif part is not None:
        parts: Any = part if isinstance(part, tuple) else vars(part).values()
        for one in parts:
            yield from tensors_of(one)


@pytest.mark.parametrize("config", [TINY, SMALL, LARGE, STEREO["stereo-large"], TINY_MELODY, SMALL_MELODY])
def test_the_decoder_takes_the_bytes_that_are_allocated(config: DecoderConfig) -> None:
    with torch.device("meta"):
        weights = random_weights(config, 1503, torch.float16)
        quantised = eight_bit(weights)
        single = random_weights(config, 1503, torch.float32)
    for kind, allocated in (("float16", weights), ("float32", single), ("int8", quantised)):
        formula = decoder_bytes(config, 1503, ELEMENT_BYTES["cuda", kind])
        counted = replace(allocated, chroma=None)  # as the text's, this projection is not part of the decoder
        assert formula == sum(one.nbytes for one in tensors_of(counted)), kind


@pytest.mark.skipif(not has_fbgemm(), reason="FBGEMM's kernels are for x86")
@pytest.mark.parametrize("kind", ["float16", "float32", "int8"])
def test_a_cpus_formula_counts_each_matrix_in_the_kind_that_it_is_packed_in(kind: str) -> None:
    weights, element, total = random_weights(TINY, 100, torch.float32), ELEMENT_BYTES["cpu", kind], 0
    sizes: dict[type, int] = {Int8Matrix: 1, Float16Matrix: 2, Float32Matrix: 4}
    for layer in [*weights.layers, weights]:
        for field in fields(layer):
            part = getattr(layer, field.name)
            if field.name in get_args(MatrixName):
                packed = PACKINGS[kind].pack(cast("MatrixName", field.name), part)
                element_bytes = sizes[type(packed)]
                total += part.numel() * element_bytes + (element.scales * len(part) if element_bytes == 1 else 0)
            elif field.name != "layers":
                total += sum(one.nbytes for one in tensors_of(part))
    assert decoder_bytes(TINY, 100, element) == total


def resident_bytes() -> int:
    """Return what is resident without the holes that freed memory has left in malloc's heap."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not has_fbgemm(), reason="FBGEMM's kernels are for x86")
@pytest.mark.parametrize("kind", ["float16", "float32", "int8"])
def test_matrices_packed_for_a_cpu_take_the_bytes_of_the_formula(kind: str) -> None:
    """Nothing tells the size of a packed matrix, so measure what the process grows by for several of them."""
    rows, columns, count = 8448, 4096, 3  # over 32 MiB, so malloc returns blocks at once; columns: whole blocks of 512
    weight = torch.randn(rows, columns)
    pack = PACKINGS[kind].most
    warm_up = pack(weight)  # libraries and thread-local buffers
    before = resident_bytes()
    packed = [pack(weight) for _ in range(count)]
    grown = resident_bytes() - before
    element = ELEMENT_BYTES["cpu", kind]
    formula = count * (rows * columns * element.layers + rows * element.scales)
    assert len(packed) == count and warm_up is not None
    assert grown == pytest.approx(formula, rel=0.1)


KINDS = [("float16", "none"), ("float32", "none"), ("float16", "int8")]


@pytest.mark.parametrize("size", PUBLISHED)
@pytest.mark.parametrize("instance_type", INSTANCE_TYPES)
@pytest.mark.parametrize(("dtype", "quantisation"), KINDS)
def test_stacks_configuration_and_the_engine_hold_as_many_clips(
    size: str, instance_type: str, dtype: str, quantisation: str
) -> None:
    """The same numbers from the formula of each, for every model, kind of weights and instance type."""
    model, config = find_model(f"facebook/musicgen-{size}"), PUBLISHED[size]
    planned = InstanceCapacity(
        model=model, instance_type=instance_type, decoder_dtype=dtype, weight_quantisation=quantisation
    )
    device = "cuda" if has_gpu(instance_type) else "cpu"
    kind = WeightFormat(dtype=dtype, eight_bit=quantisation == "int8").name
    element = ELEMENT_BYTES[device, kind]
    longest = clip_sizes(config, *LONGEST)[:2]
    weights = decoder_bytes(config, longest[0], element) + model.other_bytes
    assert planned.weight_bytes == weights
    free = memory_bytes(instance_type) - weights
    free = free - RESERVED - 450_000_000 if device == "cuda" else (free - 4_000_000_000) // 2
    requests = planned.derived_requests()
    slots = Capacity.for_requests(requests, 16, torch.device(device)).slots
    assert requests <= slots <= MAX_SLOTS == configured.MAX_SLOTS
    pages = PageAllocator(pages_that_fit(config, MAX_SLOTS, *longest, element.rest, free)).free
    for seconds, tokens in itertools.product((1, 5, 10, 29.5, 30), (1, 30, 128, 129, 512)):
        held = pages // clip_pages(*clip_sizes(config, round(seconds * 50) + 3, tokens))
        assert planned.concurrent_clips(seconds, text_tokens=tokens) == min(MAX_SLOTS, held), (seconds, tokens)


def test_stacks_configuration_has_the_engines_constants() -> None:
    assert CONFIGURED_ELEMENT_BYTES == ELEMENT_BYTES
    for size, config in PUBLISHED.items():
        model = find_model(f"facebook/musicgen-{size}")
        assert model.slot_bytes == slot_bytes(config, *clip_sizes(config, *LONGEST)[:2])
        for steps, tokens in itertools.product((1, 64, 65, 253, 1503), (0, 1, 128, 129, 512)):
            assert model.clip_pages(steps, tokens) == clip_pages(*clip_sizes(config, steps, tokens))
    assert (configured_models.MAX_STEPS, configured_models.MAX_TEXT_TOKENS) == LONGEST


@pytest.mark.parametrize("instance_type", ["ml.g5.xlarge", "ml.g6.xlarge"])
@pytest.mark.parametrize(("seconds", "tokens", "clips"), [(5, 30, 30), (5, 128, 30), (30, 30, 11), (30, 128, 11)])
def test_24_gb_run_30_short_or_11_long_clips_of_large(
    instance_type: str, seconds: int, tokens: int, clips: int
) -> None:
    model, positions = find_model("facebook/musicgen-large"), seconds * 50 + 3
    free = memory_bytes(instance_type) - model.staged_bytes("float16") - RESERVED
    allocator = PageAllocator(pages_that_fit(LARGE, MAX_SLOTS, *LONGEST, 2, free))
    held = [allocator.allocate(clip_pages(positions, tokens)) for _ in range(clips)]
    assert len({page for pages in held for page in pages}) == clips * clip_pages(positions, tokens)
    planned = InstanceCapacity(model=model, instance_type=instance_type)
    assert MAX_SLOTS >= planned.concurrent_clips(seconds, text_tokens=tokens) >= clips


def test_as_many_pages_are_allocated_as_fit_or_as_the_slots_can_use() -> None:
    page = page_bytes(TINY, 4)
    longest = clip_pages(200, 140, 140)
    assert longest == 4 + 2 + 2
    state = 2 * slot_bytes(TINY, 200, 140)
    assert pages_that_fit(TINY, 2, 200, 140, 4, 10**12) == 1 + 2 * longest
    assert pages_that_fit(TINY, 2, 200, 140, 4, state + 11 * page - 1) == 10
    assert pages_that_fit(TINY, 2, 200, 140, 4, state + 9 * page) == 9
    message = r"must hold the 0\.00 GB of one clip of 200 positions with 140 tokens of text"
    with pytest.raises(ValueError, match=message):
        pages_that_fit(TINY, 2, 200, 140, 4, state + 9 * page - 1)


def test_the_published_models_are_those_of_the_configuration() -> None:
    for size, config in PUBLISHED.items():
        model: Model = find_model(f"facebook/musicgen-{size}")
        assert (model.layers, model.hidden_size) == (config.layers, config.hidden)
        assert (model.codebooks, model.audio_channels) == (config.codebooks, config.channels)
        assert model.chroma_frames == config.chroma_frames
    assert [f"facebook/musicgen-{size}" for size in PUBLISHED] == SERVED_MODELS


def test_a_melody_models_text_takes_positions_and_no_pages_of_its_own() -> None:
    assert clip_sizes(SMALL, 253, 30, 5) == (253, 30, 5)
    assert clip_sizes(SMALL_MELODY, 253, 30, 5) == (235 + 30 + 253, 0, 0)
    assert clip_sizes(SMALL_MELODY, 253, 5, 30) == (235 + 30 + 253, 0, 0)
    assert clip_sizes(SMALL_MELODY, 253, 0) == (235 + 1 + 253, 0, 0)  # without a text, a position of zeros
    assert clip_pages(*clip_sizes(SMALL_MELODY, 1503, 30)) == 28
    with pytest.raises(ValueError, match=r"of one clip of 360 positions, got 0\.00 GB"):
        pages_that_fit(TINY_MELODY, 2, 360, 0, 4, 6 * page_bytes(TINY_MELODY, 4))
