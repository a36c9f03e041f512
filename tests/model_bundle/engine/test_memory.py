"""Test the formula for memory against what is really allocated, and the formula of the stack's configuration."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from infra.config.instances import gpu_memory_bytes
from infra.config.models import Model, find_model
from musicgen_serving.engine.generator import MAX_SLOTS
from musicgen_serving.engine.loading import MAX_TEXT_TOKENS, RESERVED
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.memory import clip_pages, decoder_bytes, page_bytes, pages_that_fit, slot_bytes
from musicgen_serving.engine.sampling_params import MAX_NEW_TOKENS
from musicgen_serving.engine.step.page_allocator import PageAllocator
from musicgen_serving.engine.step.slots import Slots, allocate
from tests.model_bundle.helpers.random_weights import random_weights

CPU, META = torch.device("cpu"), torch.device("meta")
TINY = DecoderConfig(layers=3, hidden=32, heads=2, ffn=48, vocabulary=16, codebooks=8, channels=2, pad_token=16)
SMALL = DecoderConfig(
    layers=24, hidden=1024, heads=16, ffn=4096, vocabulary=2048, codebooks=4, channels=1, pad_token=2048
)
LARGE = replace(SMALL, layers=48, hidden=2048, heads=32, ffn=8192)
PUBLISHED = {"small": SMALL, "medium": replace(SMALL, layers=48, hidden=1536, heads=24, ffn=6144), "large": LARGE}
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


@pytest.mark.parametrize("config", [TINY, SMALL, LARGE])
def test_the_decoder_takes_the_bytes_that_are_allocated(config: DecoderConfig) -> None:
    with torch.device("meta"):
        weights = random_weights(config, 1503, torch.float16)
    assert decoder_bytes(config, 1503, 2) == sum(one.nbytes for one in tensors_of(weights))


@pytest.mark.parametrize("size", PUBLISHED)
@pytest.mark.parametrize(("dtype", "itemsize"), [("float16", 2), ("float32", 4)])
def test_the_stacks_configuration_has_the_same_formula(size: str, dtype: str, itemsize: int) -> None:
    model, config = find_model(f"facebook/musicgen-{size}"), PUBLISHED[size]
    for positions, tokens in ((1, 1), (253, 30), (256, 128), (259, 129), LONGEST):
        pages = clip_pages(positions, tokens)
        assert model.clip_bytes(dtype, positions=positions, text_tokens=tokens) == pages * page_bytes(config, itemsize)
    others = 4 * (model.other_parameters + model.other_buffers)
    projection = 4 * (768 + 1) * config.hidden  # of the text; counted with the others
    positions = (2048 - MAX_NEW_TOKENS) * config.hidden * itemsize  # positions that the checkpoint has beside
    staged = model.staged_bytes(dtype) - others
    assert decoder_bytes(config, MAX_NEW_TOKENS, itemsize) == pytest.approx(staged - positions, abs=projection)


@pytest.mark.parametrize("instance_type", ["ml.g5.xlarge", "ml.g6.xlarge"])
@pytest.mark.parametrize(("seconds", "tokens", "clips"), [(5, 30, 30), (5, 128, 30), (30, 30, 11), (30, 128, 11)])
def test_24_gb_run_30_short_or_11_long_clips_of_large(
    instance_type: str, seconds: int, tokens: int, clips: int
) -> None:
    model, positions = find_model("facebook/musicgen-large"), seconds * 50 + 3
    free = gpu_memory_bytes(instance_type) - model.staged_bytes("float16") - RESERVED
    allocator = PageAllocator(pages_that_fit(LARGE, MAX_SLOTS, *LONGEST, 2, free))
    held = [allocator.allocate(clip_pages(positions, tokens)) for _ in range(clips)]
    assert len({page for pages in held for page in pages}) == clips * clip_pages(positions, tokens)
    planned = model.concurrent_clips("float16", instance_type=instance_type, positions=positions, text_tokens=tokens)
    assert MAX_SLOTS >= planned >= clips


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
