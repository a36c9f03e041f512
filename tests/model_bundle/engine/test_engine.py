"""Test continuous batching: batching does not change the samples, and a fault affects only its generator clip."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from musicgen_serving.engine import watchdog
from musicgen_serving.engine.codec_worker import AudioPart
from musicgen_serving.engine.engine import Engine
from musicgen_serving.engine.errors import (
    DeviceMemoryError,
    EngineStoppedError,
    NonFiniteError,
    QueueFullError,
    RequestAbandonedError,
)
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.request import ClipPart, Request, Sequence
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.scheduler import RequestQueue

LONG = SamplingParams(max_new_tokens=1503)


def clip(seed: int, tokens: int = 40, text: str = "calm piano", **params: Any) -> ClipSpec:
    return ClipSpec(text, seed, SamplingParams(max_new_tokens=tokens, **params))


@pytest.fixture
def generator(staged_musicgen: Path, one_thread: None, memory_log: Any) -> Iterator[Generator]:
    """Return a generator with four slots that the test may modify."""
    capacity = Capacity(slots=4, max_waiting=40)
    loaded = Generator(
        staged_musicgen, weight_format=WeightFormat(dtype="float32"), capacity=capacity, log=memory_log.log
    )
    yield loaded
    loaded.close()


def together(generator: Generator, requests: list[list[ClipSpec]]) -> list[Any]:
    """Return the clips of requests made at the same time, or the exception of those that failed."""
    results: list[Any] = [None] * len(requests)

    def make(index: int) -> None:
        try:
            results[index] = generator.generate(requests[index]).clips
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=make, args=(index,)) for index in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


def test_a_seed_gives_the_same_samples_alone_and_in_any_batch(generator: Generator) -> None:
    clips = [clip(7), clip(8, 25, "loud drums", top_k=5), clip(9, 60, "a", guidance_scale=1), clip(10, top_p=0.9)]
    alone = [generator.generate([one]).clips[0] for one in clips]
    neighbours = [clip(50 + index, 10 + 7 * index) for index in range(5)]
    in_one_request = generator.generate([*neighbours, *reversed(clips)]).clips[5:][::-1]
    in_many = together(generator, [[one] for one in (*clips, *neighbours)])[:4]
    for index in range(4):
        np.testing.assert_array_equal(in_one_request[index], alone[index])
        np.testing.assert_array_equal(in_many[index][0], alone[index])


def test_requests_in_flight_share_steps(generator: Generator) -> None:
    widths: list[int] = []
    step = generator.batch.step

    def counting() -> None:
        widths.append(len(generator.batch.sequences))
        step()

    generator.batch.step = counting
    results = together(generator, [[clip(seed, 300)] for seed in range(4)])
    assert all(len(result) == 1 for result in results)
    assert max(widths) == 4
    assert len(widths) < 4 * 300


def test_a_request_of_16_texts_uses_all_slots_and_does_not_block_others(generator: Generator) -> None:
    finished: list[str] = []
    started = threading.Event()
    step = generator.batch.step

    def noting() -> None:
        step()
        if len(generator.batch.sequences) == 4:
            started.set()

    generator.batch.step = noting

    def make(name: str, clips: list[ClipSpec]) -> None:
        generator.generate(clips)
        finished.append(name)

    large = threading.Thread(target=make, args=("large", [clip(seed, 100) for seed in range(16)]))
    large.start()
    assert started.wait(30)
    make("small", [clip(99, 10)])
    large.join(120)
    assert finished == ["small", "large"]


def test_the_queue_alternates_between_requests() -> None:
    waiting = RequestQueue(max_waiting=10)
    first, second = (Request([clip(seed) for seed in range(count)], [[[1]]] * count) for count in (4, 2))
    waiting.add(first)
    waiting.add(second)
    order = [(sequence.request, sequence.index) for sequence in waiting.take(10)]
    assert order == [(first, 0), (second, 0), (first, 1), (second, 1), (first, 2), (first, 3)]


def test_the_queue_refuses_more_clips_than_its_limit() -> None:
    waiting = RequestQueue(max_waiting=3)
    waiting.add(Request([clip(1), clip(2)], [[[1]], [[1]]]))
    with pytest.raises(QueueFullError, match=r"too many clips waiting: 4 with this request \(limit 3\)"):
        waiting.add(Request([clip(3), clip(4)], [[[1]], [[1]]]))
    assert len(waiting) == 2


def test_the_queue_takes_back_a_clip_at_its_front() -> None:
    waiting = RequestQueue(max_waiting=10)
    first, second = (Request([clip(seed)], [[[1]]]) for seed in (1, 2))
    waiting.add(first)
    waiting.add(second)
    taken = waiting.take(1)
    waiting.put_back(taken[0])
    assert [sequence.request for sequence in waiting.take(2)] == [first, second]


def test_clips_of_abandoned_requests_no_longer_wait() -> None:
    waiting = RequestQueue(max_waiting=4)
    gone, live = Request([clip(1)] * 3, [[[1]]] * 3), Request([clip(2)], [[[1]]])
    waiting.add(gone)
    waiting.add(live)
    gone.created -= 100
    gone.fail(RequestAbandonedError())
    assert len(waiting) == 1 and waiting.age < 50
    waiting.add(Request([clip(3)] * 3, [[[1]]] * 3))
    assert len(waiting) == 4
    assert gone not in {sequence.request for sequence in waiting.take(4)}


def test_a_failed_requests_other_clips_leave_their_slots_at_the_next_step(generator: Generator) -> None:
    generator.close()
    request = Request([ClipSpec("a", seed, LONG) for seed in range(3)], [[[5, 1]]] * 3)
    states = generator.text_encoder.encode([[5, 1]] * 3)
    for index in range(3):
        generator.batch.admit(Sequence(request, index), states[index])
    generator.batch.step()
    generator.batch.collect_finished()
    assert len(generator.batch.sequences) == 3
    request.fail(NonFiniteError("samples"))
    generator.batch.step()
    generator.batch.collect_finished()
    assert generator.batch.sequences == []


def test_a_request_abandoned_while_its_text_is_encoded_takes_no_slot(generator: Generator) -> None:
    encode, abandoned = generator.engine._encode, threading.Event()  # pyright: ignore[reportPrivateUsage]
    admit = Mock(wraps=generator.batch.admit)
    generator.batch.admit = admit

    def slow(texts: list[list[int]]) -> list[torch.Tensor]:
        abandoned.wait(30)
        return encode(texts)

    generator.engine._encode = slow  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(RequestAbandonedError):
        generator.generate([clip(1)], abandoned=lambda: True)
    abandoned.set()
    assert len(generator.generate([clip(2)]).clips) == 1
    assert [call.args[0].clip.seed for call in admit.call_args_list] == [2]


def test_each_clip_is_delivered_while_others_are_generated(generator: Generator) -> None:
    steps_left: list[int] = []

    def deliver(part: AudioPart) -> None:
        assert part.total == (10 if part.index == 1 else 600) * 640
        if part.last:
            steps_left.append(len(generator.batch.sequences))

    result = generator.generate([clip(1, 603), clip(2, 13)], deliver=deliver)
    assert steps_left == [1, 0]  # the second, short clip came first
    assert result.clips == []


def test_clips_that_a_request_cannot_deliver_are_dropped(generator: Generator) -> None:
    delivered: list[int] = []

    def deliver(part: AudioPart) -> None:
        delivered.append(part.index)
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        generator.generate([ClipSpec("a", 1, LONG), clip(2, 13), ClipSpec("a", 3, LONG)], deliver=deliver)
    assert delivered == [1]
    assert len(generator.generate([clip(4, 13)]).clips) == 1
    generator.close()
    assert generator.batch.sequences == []


def test_a_request_fails_with_its_first_error_though_clips_are_finished() -> None:
    request = Request([clip(1), clip(2)], [[[1]]] * 2)
    request.add_part(ClipPart(0, torch.zeros(4, 3), last=True))
    request.fail(NonFiniteError("logits"))
    request.fail(EngineStoppedError())
    with pytest.raises(NonFiniteError):
        next(request.parts())


def test_an_abandoned_request_frees_its_slots(generator: Generator) -> None:
    with pytest.raises(RequestAbandonedError):
        generator.generate([ClipSpec("a", 1, LONG)] * 4, abandoned=lambda: True)
    assert len(generator.generate([clip(1)]).clips) == 1
    generator.close()  # joins the engine's thread, which completes a clip shortly before it frees the slot
    assert generator.batch.sequences == []


def test_a_clip_that_raises_fails_alone(generator: Generator) -> None:
    step = generator.batch._step_run  # pyright: ignore[reportPrivateUsage]

    def poisoned(first: int, count: int) -> None:
        run = generator.batch.sequences[first : first + count]
        if any(sequence.clip.seed == 666 and sequence.position == 20 for sequence in run):
            raise ValueError("poison")
        step(first, count)

    expected = [generator.generate([clip(seed)]).clips[0] for seed in (1, 2)]
    generator.batch._step_run = poisoned  # pyright: ignore[reportPrivateUsage]
    first, poison, second = together(generator, [[clip(1)], [clip(666)], [clip(2)]])
    assert repr(poison) == "ValueError('poison')"
    np.testing.assert_array_equal(first[0], expected[0])
    np.testing.assert_array_equal(second[0], expected[1])


def admit_with_nan(generator: Generator, seed: int) -> Callable[[], None]:
    """Replace the text states of clips with this seed by NaN; return what restores normal admission."""
    admit = generator.batch.admit

    def replacement(sequence: Sequence, states: Any, negative: Any = None) -> None:
        admit(sequence, states * float("nan") if sequence.clip.seed == seed else states, negative)

    def restore() -> None:
        generator.batch.admit = admit

    generator.batch.admit = replacement
    return restore


def test_nonfinite_logits_fail_their_clip_and_do_not_affect_the_others(generator: Generator) -> None:
    expected = generator.generate([clip(1)]).clips[0]
    restore = admit_with_nan(generator, 666)
    good, bad = together(generator, [[clip(1)], [clip(666)]])
    assert isinstance(bad, NonFiniteError)
    assert str(bad) == "the model computed logits with NaN or infinity"
    np.testing.assert_array_equal(good[0], expected)
    restore()
    assert len(generator.generate([clip(seed) for seed in range(4)]).clips) == 4  # NaN left in a cache would spread


def test_a_nonfinite_clip_leaves_no_nan_in_its_slot_nor_in_the_one_it_was_moved_from(generator: Generator) -> None:
    restore = admit_with_nan(generator, 666)
    with pytest.raises(NonFiniteError):
        generator.generate([clip(1, 20), clip(666, 60)])  # the first clip finishes first; the other moves to slot 0
    restore()
    assert len(generator.generate([clip(seed) for seed in range(4)]).clips) == 4


def test_a_clip_that_runs_out_of_memory_waits_until_another_has_finished(generator: Generator, memory_log: Any) -> None:
    admit = generator.batch.admit
    in_flight: list[int] = []

    def tight(sequence: Any, states: Any, negative: Any = None) -> None:
        if generator.batch.sequences:
            in_flight.append(len(generator.batch.sequences))
            raise torch.OutOfMemoryError("CUDA out of memory")
        admit(sequence, states, negative)

    generator.batch.admit = tight
    results = together(generator, [[clip(seed)] for seed in range(3)])
    assert all(isinstance(result, list) for result in results)
    assert set(in_flight) == {1}
    assert memory_log.events("admission_failed")


def test_running_out_of_memory_with_nothing_in_flight_fails_only_the_request(generator: Generator) -> None:
    admit = generator.batch.admit

    def full(sequence: Any, states: Any, negative: Any = None) -> None:
        raise MemoryError

    generator.batch.admit = full
    with pytest.raises(DeviceMemoryError, match="ran out of memory"):
        generator.generate([clip(1)])
    generator.batch.admit = admit
    assert len(generator.generate([clip(1)]).clips) == 1


def test_texts_that_cannot_be_encoded_together_are_encoded_one_by_one(generator: Generator) -> None:
    encode = generator.engine._encode  # pyright: ignore[reportPrivateUsage]
    calls: list[int] = []

    def fragile(texts: list[list[int]]) -> list[torch.Tensor]:
        calls.append(len(texts))
        if len(texts) > 1:
            raise RuntimeError("too many")
        return encode(texts)

    generator.engine._encode = fragile  # pyright: ignore[reportPrivateUsage]
    assert len(generator.generate([clip(1), clip(2)]).clips) == 2
    assert calls == [2, 1, 1]


def test_texts_of_several_requests_are_encoded_together(generator: Generator) -> None:
    encode, calls = generator.engine._encode, list[int]()  # pyright: ignore[reportPrivateUsage]

    def counting(texts: list[list[int]]) -> list[torch.Tensor]:
        calls.append(len(texts))
        return encode(texts)

    generator.engine._encode = counting  # pyright: ignore[reportPrivateUsage]
    requests = [Request([clip(seed)], [[[5, 6, 1]]]) for seed in range(3)]
    with generator.engine._changed:  # pyright: ignore[reportPrivateUsage]  # so that the engine sees all at once
        for request in requests:
            generator.engine._queue.add(request)  # pyright: ignore[reportPrivateUsage]
        generator.engine._changed.notify()  # pyright: ignore[reportPrivateUsage]
    assert [len(request.wait()) for request in requests] == [1, 1, 1]
    assert calls == [3]


def engine_with(step: Callable[[], None], generator: Generator, log: Any, on_death: Callable[[], None]) -> Engine:
    """Return a started engine whose steps are replaced."""
    generator.batch.step = step
    encode = generator.engine._encode  # pyright: ignore[reportPrivateUsage]
    engine = Engine(generator.batch, encode, max_waiting=9, log=log, on_death=on_death)
    engine.start()
    return engine


def test_a_fatal_error_fails_all_requests_and_ends_the_process(generator: Generator, memory_log: Any) -> None:
    generator.close()
    died = threading.Event()

    def fatal() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    engine = engine_with(fatal, generator, memory_log.log, died.set)
    request = Request([clip(1)], [[[5, 1]]])
    engine.submit(request)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        request.wait()
    assert died.wait(30)
    assert "illegal memory access" in memory_log.events("engine_died")[0]["error"]
    with pytest.raises(EngineStoppedError):
        engine.submit(Request([clip(1)], [[[5, 1]]]))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), MemoryError()], ids=repr)
@pytest.mark.parametrize("raised_by", ["a step", "the report"])
def test_whatever_ends_the_thread_fails_all_requests_and_ends_the_process(
    raised_by: str, error: BaseException, generator: Generator, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator.close()
    died, stepping, proceed = threading.Event(), threading.Event(), threading.Event()
    step = generator.batch.step

    def fatal() -> None:
        stepping.set()
        assert proceed.wait(30)
        if raised_by == "a step":
            raise error
        step()

    engine = engine_with(fatal, generator, memory_log.log, died.set)
    if raised_by == "the report":
        monkeypatch.setattr(engine._stats, "report", Mock(side_effect=error))  # pyright: ignore[reportPrivateUsage]
    requests = [Request([clip(seed)] * 3, [[[5, 1]]] * 3) for seed in range(2)]  # four clips in flight, two waiting
    for request in requests:
        engine.submit(request)
    assert stepping.wait(30)
    engine._stats._since -= 61  # pyright: ignore[reportPrivateUsage]
    proceed.set()
    for request in requests:
        with pytest.raises(MemoryError if isinstance(error, Exception) else EngineStoppedError):
            request.wait()
    assert died.wait(30)
    assert not engine.running
    assert memory_log.events("engine_died")[0]["error"].startswith(type(error).__name__)


def test_clips_that_are_being_admitted_fail_too_when_the_thread_ends(generator: Generator, memory_log: Any) -> None:
    generator.close()
    died = threading.Event()
    generator.batch.admit = Mock(side_effect=SystemExit)
    engine = engine_with(generator.batch.step, generator, memory_log.log, died.set)
    request = Request([clip(1)] * 2, [[[5, 1]]] * 2)
    engine.submit(request)
    with pytest.raises(EngineStoppedError):
        request.wait()
    assert died.wait(30)


def test_a_log_that_blocks_does_not_keep_a_dead_engines_process_alive(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator.close()
    monkeypatch.setattr(watchdog, "LAST_LOG_SECONDS", 0.1)
    died, read = threading.Event(), threading.Event()

    def block(*_: object) -> None:  # as a write to a full pipe
        read.wait(30)

    log = Mock(exception=block)
    engine = engine_with(Mock(side_effect=RuntimeError("lost")), generator, log, died.set)
    engine.submit(Request([clip(1)], [[[5, 1]]]))
    assert died.wait(30)
    read.set()


def test_a_report_to_a_broken_log_stops_nothing(generator: Generator) -> None:
    log = generator.engine._log  # pyright: ignore[reportPrivateUsage]
    log._stream = Mock(write=Mock(side_effect=BrokenPipeError))  # pyright: ignore[reportPrivateUsage]
    generator.engine._stats._since -= 61  # pyright: ignore[reportPrivateUsage]
    assert len(generator.generate([clip(1)]).clips) == 1
    assert generator.healthy


@pytest.mark.parametrize("device_lost", [False, True])
def test_a_step_error_is_fatal_only_if_the_device_is_lost(
    device_lost: bool, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator.close()
    (states,) = generator.text_encoder.encode([[5, 1]])
    sequence = Sequence(Request([clip(1)], [[[5, 1]]]), 0)
    generator.batch.admit(sequence, states)
    monkeypatch.setattr(generator.batch, "_step_run", Mock(side_effect=ValueError("the step's own error")))
    if device_lost:
        monkeypatch.setattr(torch, "ones", Mock(side_effect=RuntimeError("CUDA error: device-side assert triggered")))
    if not device_lost:
        generator.batch.step()
    with pytest.raises(ValueError, match="the step's own error"):
        generator.batch.step() if device_lost else sequence.request.wait()


def test_logs_its_start_and_its_statistics_each_minute(generator: Generator, memory_log: Any) -> None:
    (loaded,) = memory_log.events("loaded")
    assert loaded["bytes"] > 400_000
    assert loaded["device"] == "cpu" and loaded["slots"] == 4
    parts = ("read", "decoder", "text_encoder", "codec", "warm_up")
    assert all(0 < loaded[f"{part}_seconds"] <= loaded["seconds"] for part in parts)
    assert "graphs" not in loaded  # none on a CPU
    generator.generate([clip(1), clip(2)])
    generator.engine._stats._since -= 61  # pyright: ignore[reportPrivateUsage]
    generator.generate([clip(3)])
    line = memory_log.events("engine")[0]
    assert line["steps"] >= 40
    assert line["tokens_per_second"] > 0
    assert {"in_flight", "free_slots", "waiting", "queue_age_seconds", "device_memory_bytes"} <= set(line)
