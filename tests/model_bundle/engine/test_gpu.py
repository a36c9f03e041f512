"""What only a GPU can show: `make test-gpu`. Elsewhere these tests are deselected, and pytest's last lines say so."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from benchmarks.gpu import logits
from benchmarks.gpu.checkpoint import write_checkpoint
from benchmarks.gpu.engine_run import Plan, prepared
from benchmarks.gpu.step_trace import traced
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat, kernel_step
from musicgen_serving.engine.model.config import decoder_config, read_config
from musicgen_serving.engine.model.weights import DecoderWeights, WeightFiles, load_decoder
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.step import torch_step
from musicgen_serving.engine.step.decode_loop import DecodeLoop
from musicgen_serving.engine.step.graphs import CudaRecorder, DirectRecorder
from musicgen_serving.engine.step.kv_cache import allocate

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]  # what a GPU's libraries warn of is no fault here

DEVICE = torch.device("cuda", 0)
POSITIONS, TEXT, FRAMES, SLOTS = 320, 24, 280, 4
PLAN = Plan(steps=60, rounds=1, in_flight=(2,), stock=(), stock_steps=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of musicgen-small's shapes."""
    made = tmp_path_factory.mktemp("small") / "small"
    write_checkpoint(made, "small", DEVICE)
    return made


@pytest.fixture
def generator(folder: Path, memory_log: Any) -> Iterator[Generator]:
    loaded = Generator(folder, weight_format=WeightFormat(), capacity=Capacity(slots=SLOTS), log=memory_log.log)
    yield loaded
    loaded.close()


def loop_of(folder: Path, kernels: bool, log: Any) -> DecodeLoop:
    """The checkpoint in float16, stepped by kernels or by torch."""
    config = decoder_config(read_config(folder))
    weights = weights_of(folder, torch.float16, eight_bit=False)
    slots = allocate(config, SLOTS, POSITIONS, TEXT, DEVICE, torch.float16)
    return DecodeLoop(config, weights, slots, kernel_step(config, weights, POSITIONS, log) if kernels else None)


def weights_of(folder: Path, dtype: torch.dtype, *, eight_bit: bool) -> DecoderWeights:
    with WeightFiles(folder, DEVICE) as files:
        return load_decoder(files, decoder_config(read_config(folder)), DEVICE, dtype, POSITIONS, eight_bit=eight_bit)


def width_of(weights: DecoderWeights) -> int:
    """Of a text's states."""
    return weights.project.weight.shape[1] if weights.project else weights.heads.shape[1]


def codes_of(loop: DecodeLoop, steps: int) -> torch.Tensor:
    """The tokens of three clips that join one after the other, and of which the first leaves early."""
    generator = torch.Generator(loop.device).manual_seed(1)
    width = loop.weights.project.weight.shape[1] if loop.weights.project else loop.config.hidden
    texts = [torch.randn(count, width, generator=generator, device=loop.device) for count in (TEXT, 1, 9)]
    ways = [
        SamplingParams(do_sample=False),
        SamplingParams(top_k=50, top_p=0.9),
        SamplingParams(guidance_scale=1),
    ]
    for step in range(steps):
        if step % 5 == 0 and step < 15:
            loop.admit(step // 5, texts[step // 5], FRAMES, ways[step // 5], seed=step)
        if step == steps - 20:
            loop.slots.deactivate(0)
        count = min(step // 5 + 1, 3)
        loop.step(0, count, length=POSITIONS, text_length=TEXT, max_top_k=loop.config.vocabulary, use_top_p=True)
    return loop.slots.tokens[:3].clone()


@pytest.mark.parametrize("eight_bit", [False, True])
def test_compiled_kernels_have_torchs_logits(folder: Path, eight_bit: bool, memory_log: Any) -> None:
    config, weights = decoder_config(read_config(folder)), weights_of(folder, torch.float16, eight_bit=eight_bit)
    tokens, states = logits.inputs(folder, config, DEVICE)
    ours = logits.forced(config, weights, tokens, states, memory_log.log)
    assert logits.relative(ours, logits.by_torch(config, weights, tokens, states)) < 1e-2
    assert memory_log.events("kernels_missing") == []


def test_compiled_kernels_draw_torchs_tokens(folder: Path, memory_log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[torch.Tensor] = []
    for kernels in (False, True):
        loop = loop_of(folder, kernels, memory_log.log)
        states = torch.zeros(3, width_of(loop.weights), device=DEVICE)
        ways = [SamplingParams(do_sample=False), SamplingParams(top_k=50, top_p=0.9), SamplingParams()]
        for slot, params in enumerate(ways):
            loop.admit(slot, states, FRAMES, params, seed=slot)
        for step in range(40):
            draw_from(random_logits(loop, step), loop, kernels, monkeypatch)
        drawn.append(loop.slots.tokens[:3, :, :40].clone())
    assert (drawn[0] == drawn[1]).float().mean() > 0.99  # logarithms may differ in their last bit
    assert len(drawn[0].unique()) > 200


def random_logits(loop: DecodeLoop, seed: int) -> torch.Tensor:
    """Logits [slots, 2, K * V]."""
    generator = torch.Generator(DEVICE).manual_seed(seed)
    width = loop.config.codebooks * loop.config.vocabulary
    return torch.randn(SLOTS, 2, width, generator=generator, device=DEVICE) * 3


def draw_from(given: torch.Tensor, loop: DecodeLoop, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw every active slot's next tokens from given logits."""
    if kernels:
        from musicgen_serving.engine.kernels.sampling import sample

        drawn = torch.zeros(SLOTS, device=DEVICE, dtype=torch.int32)
        sample(given.view(2 * SLOTS, -1), loop.slots, drawn)
    else:
        monkeypatch.setattr(torch_step, "forward", MagicMock(return_value=given))
        loop.step(0, SLOTS, length=POSITIONS, text_length=TEXT, max_top_k=loop.config.vocabulary, use_top_p=True)


@pytest.mark.parametrize("eight_bit", [False, True])
def test_logits_in_float16_are_near_float32s(folder: Path, eight_bit: bool, memory_log: Any) -> None:
    error = logits.errors(folder, DEVICE, memory_log.log, eight_bit=eight_bit)["both_rows"]
    assert error < (0.1 if eight_bit else 1e-2)


@pytest.mark.parametrize(("kernels", "make"), [(False, CudaRecorder), (True, CudaRecorder), (True, DirectRecorder)])
def test_graphs_make_the_tokens_of_steps_without_graphs(
    folder: Path, kernels: bool, make: type[CudaRecorder], memory_log: Any
) -> None:
    plain, recorded = (loop_of(folder, kernels, memory_log.log) for _ in range(2))
    done = recorded.record_graphs(make(DEVICE), memory_log.log)
    assert done.count == done.total and memory_log.events("graph_failed") == []
    expected = codes_of(rounded_up(plain, recorded), 300)
    assert torch.equal(codes_of(recorded, 300), expected)
    assert len(expected.unique()) > 100


def rounded_up(plain: DecodeLoop, recorded: DecodeLoop) -> DecodeLoop:
    """A loop whose steps have the shapes of the other's graphs: in other shapes a GPU rounds otherwise."""
    step, graphs = plain.step, recorded.graphs
    assert graphs is not None

    def wider(first: int, count: int, *, length: int, text_length: int, max_top_k: int, use_top_p: bool) -> None:
        bucket = graphs.find(count, length)
        step(
            first, bucket.slots, length=bucket.length, text_length=text_length, max_top_k=max_top_k, use_top_p=use_top_p
        )

    plain.step = wider
    return plain


def test_a_step_is_one_launch_without_waiting(folder: Path) -> None:
    assert traced(folder, 20) == {"graph_launches": 1, "other_kernels": 0, "copies": 0, "waits": 0}


def test_a_step_synchronises_nothing(generator: Generator) -> None:
    with prepared(generator, 2, PLAN):
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(10):
                generator.loop.step(
                    0, 2, length=256, text_length=generator.loop.text_length, max_top_k=250, use_top_p=False
                )
        finally:
            torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()


def test_the_engine_makes_the_same_clip_twice_and_says_how_it_started(generator: Generator, memory_log: Any) -> None:
    clips = [ClipSpec("calm piano", seed, SamplingParams(max_new_tokens=80)) for seed in range(6)]
    first = generator.generate(clips[:1]).clips[0]
    np.testing.assert_array_equal(generator.generate(clips[:1]).clips[0], first)
    assert len(generator.generate(clips).clips) == 6
    (start,) = memory_log.events("loaded")
    assert start["graphs"] == start["graphs_of"] > 0 and start["compile_seconds"] > 0
    assert {line["event"] for line in memory_log.lines()} == {"loaded"}  # nothing was missing, and nothing failed
