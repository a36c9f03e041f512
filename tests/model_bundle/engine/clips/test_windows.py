"""Test clips of several windows: how they are planned, that each continues the last, and that a fault stays in one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from musicgen_serving.engine import windows
from musicgen_serving.engine.engine import Engine
from musicgen_serving.engine.errors import DeviceMemoryError, NonFiniteError
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.request import Request, Sequence
from musicgen_serving.engine.sampling_params import MAX_WINDOW_FRAMES, ClipSpec, SamplingParams, Section
from musicgen_serving.engine.scheduler import Batch
from musicgen_serving.engine.windows import Window, plan_windows
from tests.model_bundle.helpers.reference_musicgen import Reference

STRIDE = 900


@given(
    st.lists(st.integers(1, 4000), min_size=1, max_size=10), st.integers(50, 1450), st.integers(0, 1400),
)  # fmt: skip
def test_windows_generate_every_frame_once_and_fit_the_decoder(sections: list[int], stride: int, prompt: int) -> None:
    plan = plan_windows(sections, stride, 7, prompt)
    done = prompt
    for window in plan:
        assert window.new > 0 and window.frames <= MAX_WINDOW_FRAMES and window.context <= done
        done += window.new
    for section, frames in enumerate(sections):
        assert sum(window.new for window in plan if window.section == section) == frames
    assert [window.section for window in plan] == sorted(window.section for window in plan)
    assert len(plan) == 1 or all(window.context <= MAX_WINDOW_FRAMES - stride for window in plan)
    assert len({window.seed for window in plan}) == len(plan) and plan[0].seed == 7


def test_five_minutes_have_the_windows_that_audiocraft_has() -> None:
    plan = plan_windows([15000], STRIDE, 7)
    assert (plan[0].context, plan[0].new) == (0, 1500)  # 30 s
    assert {(window.context, window.new) for window in plan[1:]} == {(600, 900)}  # 12 s of context, 18 s more
    assert len(plan) == 16


def test_a_section_begins_a_window_with_what_there_is_of_context() -> None:
    plan = plan_windows([100, 100, 2000], STRIDE, 7)
    assert [(one.section, one.context, one.new) for one in plan] == [
        (0, 0, 100), (1, 100, 100), (2, 200, 1300), (2, 600, 700),
    ]  # fmt: skip


def test_what_fits_one_window_is_one_whatever_the_stride() -> None:
    assert plan_windows([300], 1450, 7, prompt=1200) == (Window(0, 1200, 300, 7),)
    assert [(one.context, one.new) for one in plan_windows([301], STRIDE, 7, prompt=1200)] == [(600, 301)]


def test_the_beginning_does_not_depend_on_the_length() -> None:
    assert plan_windows([6000], STRIDE, 7)[:5] == plan_windows([15000], STRIDE, 7)[:5]


# ---- with a decoder whose windows are short


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MAX_WINDOW_FRAMES", 40)


def greedy_by_hand(reference: Reference, plan: tuple[Window, ...]) -> torch.Tensor:
    """Return the codes of transformers' generate, called once for each window with the codes that it continues."""
    codes = torch.empty(2, reference.codebooks, 0, dtype=torch.long)
    for window in plan:
        prompt = codes[:, :, codes.shape[2] - window.context :] if window.context else None
        both = reference.greedy(window.frames, 3, prompt)[window.section % 2, :, window.context :]
        codes = torch.cat([codes, both.expand(2, *both.shape)], dim=2)
    return codes[0]


def make_engine(batch: Batch, reference: Reference, log: Any) -> Engine:
    def encode(texts: list[list[int]]) -> list[torch.Tensor]:
        return [reference.states(text[0]) for text in texts]

    engine = Engine(batch, encode, max_waiting=9, log=log, on_death=lambda: None)
    engine.start()
    return engine


@pytest.mark.usefixtures("short_windows")
def test_greedy_codes_of_sections_and_windows_are_transformers(reference: Reference, memory_log: Any) -> None:
    params = SamplingParams(do_sample=False, stride=24)
    sections = tuple(Section(str(text), frames) for text, frames in ((0, 30), (1, 70), (0, 9)))
    clips = [ClipSpec(None, 7, params, sections=sections)]
    tokens = [[[0] * 11, [1] * 5, [0] * 11]]
    batch = Batch(reference.runner(slots=3), 32)
    engine = make_engine(batch, reference, memory_log.log)
    pages = batch.free_pages
    noise = Request(
        [ClipSpec("", seed, SamplingParams(max_new_tokens=90, stride=24)) for seed in range(2)], [[[1] * 5]] * 2
    )
    request = Request(clips, tokens)
    engine.submit(noise)
    engine.submit(request)
    (codes,) = request.wait()
    noise.wait()
    engine.stop()
    plan = request.windows[0]
    assert [(one.section, one.context, one.new) for one in plan] == [
        (0, 0, 30), (1, 16, 24), (1, 16, 24), (1, 16, 22), (2, 16, 9),
    ]  # fmt: skip
    assert torch.equal(codes, greedy_by_hand(reference, plan))
    assert request.fraction == 1 and batch.free_pages == pages


@pytest.mark.usefixtures("short_windows")
def test_a_window_that_needs_more_pages_than_the_first_finds_them(mono: Reference, memory_log: Any) -> None:
    """The second section's text takes all pages but the positions'; another clip waits until they are free."""
    reference = mono.with_texts([1, 300])
    sections = (Section("a", 20), Section("b", 20))
    request = Request([ClipSpec(None, 1, SamplingParams(stride=24), sections=sections)], [[[0], [1] * 300]])
    batch = Batch(reference.runner(slots=2, text=300, pages=1 + 1 + 3), 32)
    engine = make_engine(batch, reference, memory_log.log)
    other = Request([ClipSpec("", 2, SamplingParams(max_new_tokens=20))], [[[0]]])
    for one in (request, other):
        engine.submit(one)
    assert request.wait()[0].shape[1] == 40 and other.wait()[0].shape[1] == 17
    engine.stop()
    assert other.queued_seconds > 0 and request.max_in_flight == 1


@pytest.mark.usefixtures("short_windows")
@pytest.mark.parametrize("error", [ValueError("no"), torch.OutOfMemoryError("no")])
def test_a_window_that_cannot_begin_fails_its_request_alone(mono: Reference, memory_log: Any, error: Exception) -> None:
    batch = Batch(mono.runner(slots=2), 32)
    pages, begin = batch.free_pages, batch.begin_window

    def failing(sequence: Sequence, states: torch.Tensor | None, negative: torch.Tensor | None = None) -> None:
        if sequence.window_index == 2 and sequence.clip.seed == 1:
            raise error
        begin(sequence, states, negative)

    batch.begin_window = failing
    engine = make_engine(batch, mono, memory_log.log)
    requests = [
        Request([ClipSpec("", seed, SamplingParams(max_new_tokens=103, stride=24))], [[[0]]]) for seed in (1, 2)
    ]
    for request in requests:
        engine.submit(request)
    with pytest.raises(DeviceMemoryError if isinstance(error, torch.OutOfMemoryError) else ValueError):
        requests[0].wait()
    assert requests[1].wait()[0].shape[1] == 100
    engine.stop()
    assert batch.free_pages == pages and engine.state()["in_flight"] == 0


@pytest.mark.usefixtures("short_windows")
def test_infinite_logits_of_any_window_fail_the_clip(mono: Reference, memory_log: Any) -> None:
    batch = Batch(mono.runner(slots=2), 32)
    step = batch.step

    def poisoned() -> None:
        step()
        for slot, sequence in enumerate(batch.sequences):
            if sequence.clip.seed == 1 and sequence.window_index == 1:
                batch._runner.slots.nonfinite[slot] = True  # pyright: ignore[reportPrivateUsage]

    batch.step = poisoned
    engine = make_engine(batch, mono, memory_log.log)
    requests = [
        Request([ClipSpec("", seed, SamplingParams(max_new_tokens=103, stride=24))], [[[0]]]) for seed in (1, 2)
    ]
    for request in requests:
        engine.submit(request)
    with pytest.raises(NonFiniteError):
        requests[0].wait()
    assert requests[1].wait()[0].shape[1] == 100
    engine.stop()


# ---- with the whole generator


@pytest.fixture
def generator(staged_musicgen: Path, one_thread: None, memory_log: Any) -> Iterator[Generator]:
    capacity = Capacity(slots=2, max_waiting=9)
    loaded = Generator(
        staged_musicgen, weight_format=WeightFormat(dtype="float32"), capacity=capacity, log=memory_log.log
    )
    yield loaded
    loaded.close()


@pytest.mark.usefixtures("short_windows")
def test_joints_do_not_click(generator: Generator) -> None:
    """Codes in overlaps are the same, and one decoder runs over all: no sample jump stands out where windows join."""
    clip = ClipSpec("calm piano", 3, SamplingParams(max_new_tokens=1203, stride=24))
    samples, rate = generator.generate([clip]).clips[0], generator.sampling_rate // 50
    assert samples.shape[1] == 1200 * rate
    jumps = np.abs(np.diff(samples[0]))
    ends = np.cumsum([window.new for window in plan_windows([1200], 24, 3)])[:-1] * rate
    joints = jumps[ends - 1]
    assert len(joints) > 45 and np.mean(joints > np.percentile(jumps, 99)) <= 0.05
    np.testing.assert_allclose(np.median(joints), np.median(jumps[rate - 1 :: rate]), rtol=0.3)  # of all frames' ends


@pytest.mark.usefixtures("short_windows")
def test_a_long_clip_begins_as_a_short_one_does(generator: Generator) -> None:
    codes = [
        generator.generate([ClipSpec("calm piano", 3, SamplingParams(max_new_tokens=count, stride=24))]).codes[0]
        for count in (88 + 3, 40 + 48 + 24 + 3)
    ]
    np.testing.assert_array_equal(codes[1][:, :88], codes[0])
