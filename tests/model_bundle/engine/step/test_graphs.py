"""Test that recorded steps give the codes of steps without graphs at fixed addresses; buckets, budget and failures."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# transformers ships types that strict mode cannot follow.

import gc
import itertools
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import pytest
import torch

from musicgen_serving.engine.request import Request, Sequence
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.scheduler import Batch
from musicgen_serving.engine.step import graphs
from musicgen_serving.engine.step.graphs import Bucket, StepGraphs, make_buckets
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.slots import BatchView, Slots
from tests.model_bundle.helpers.fake_graph_recorder import FakeGraphRecorder
from tests.model_bundle.helpers.reference_musicgen import Reference

CLIPS = [
    ClipSpec("", 1, SamplingParams(max_new_tokens=70)),
    ClipSpec("", 2, SamplingParams(max_new_tokens=25, top_k=5)),
    ClipSpec("", 3, SamplingParams(max_new_tokens=100, guidance_scale=1)),
    ClipSpec("", 4, SamplingParams(max_new_tokens=20, top_p=0.8, top_k=0)),
    ClipSpec("", 5, SamplingParams(max_new_tokens=60, do_sample=False)),
    ClipSpec("", 6, SamplingParams(max_new_tokens=33, temperature=1.3)),
    ClipSpec("", 7, SamplingParams(max_new_tokens=50)),
]


@pytest.fixture(autouse=True)
def short_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MIN_LENGTH", 32)


def run_session(runner: ModelRunner, reference: Reference) -> list[list[torch.Tensor]]:
    """Return the codes of all clips, up to two of which are admitted every seven steps if slots are free."""
    batch = Batch(runner, length_multiple=32)
    requests = [Request([clip], [[[0] * int(reference.mask[index % 2].sum())]]) for index, clip in enumerate(CLIPS)]
    waiting = list(enumerate(requests))
    for step in itertools.count():
        for _ in range(min(2, batch.free_slots, len(waiting)) if step % 7 == 0 else 0):
            index, request = waiting.pop(0)
            batch.admit(Sequence(request, 0), reference.states(index % 2))
        if not (batch.sequences or waiting):
            return [request.wait() for request in requests]
        if batch.sequences:
            batch.step()
            batch.collect_finished()
    raise AssertionError


def test_recorded_steps_generate_the_codes_of_steps_without_graphs(mono: Reference, memory_log: Any) -> None:
    plain = run_session(mono.runner(slots=5), mono)
    runner, recorder = mono.runner(slots=5), FakeGraphRecorder()
    recorded = runner.record_graphs(recorder, memory_log.log, inf)
    assert recorded.count == recorded.total == len(make_buckets(5, 128)) == 12
    for one, other in zip(plain, run_session(runner, mono), strict=True):
        assert torch.equal(one[0], other[0])
    assert recorder.rehearsed == recorder.recorded == 12
    assert recorder.replayed > 100
    assert len(plain[2][0].unique()) > 30


def test_addresses_do_not_change_while_clips_join_move_and_leave(mono: Reference, memory_log: Any) -> None:
    runner, recorder = mono.runner(slots=5), FakeGraphRecorder()
    runner.record_graphs(recorder, memory_log.log, inf)
    assert runner.graphs is not None
    views = runner.graphs._views.values()  # pyright: ignore[reportPrivateUsage]
    addresses = [address for one in views for address in addresses_of(one)]
    moves: list[int] = []
    move = runner.move

    def recording_move(source: int, target: int) -> None:
        moves.append(target)
        move(source, target)

    runner.move = recording_move
    recorder.check = lambda: check(addresses == [address for one in views for address in addresses_of(one)])
    run_session(runner, mono)
    assert moves and recorder.replayed > 100


def check(holds: bool) -> None:
    assert holds


def addresses_of(one: BatchView) -> Iterator[int]:
    state = one.state
    yield from (tensor.data_ptr() for tensor in state.per_slot().values())
    yield from (layer.data_ptr() for layer in state.kv)


def test_buckets_beyond_the_time_budget_are_recorded_at_first_use(mono: Reference, memory_log: Any) -> None:
    plain = run_session(mono.runner(slots=5), mono)
    runner, recorder = mono.runner(slots=5), FakeGraphRecorder()
    clock = itertools.count()  # each reading is a second later
    runner.record_graphs(recorder, memory_log.log, budget=0)
    assert runner.graphs is not None and recorder.recorded == 0
    recorded = runner.graphs.record_all(4, lambda: next(clock))
    assert (recorded.count, recorder.recorded) == (3, 3)  # at 1, 2 and 3 seconds
    for one, other in zip(plain, run_session(runner, mono), strict=True):
        assert torch.equal(one[0], other[0])
    assert recorder.recorded > 3 and recorder.rehearsed == 3


def test_steps_with_a_negative_prompt_are_recorded_when_first_used(mono: Reference, memory_log: Any) -> None:
    """The second clip has one and leaves first; the steps after it are those recorded at start-up."""
    codes, recorder = list[torch.Tensor](), FakeGraphRecorder()
    for recorded in (False, True):
        runner = mono.runner(slots=2)
        if recorded:
            assert runner.record_graphs(recorder, memory_log.log, inf).count == recorder.recorded == 6
        for slot, negative in enumerate((None, mono.states(1))):
            runner.admit(slot, mono.states(0), 40, SamplingParams(), slot, negative=negative)
        for step in range(43):
            if step == 20:
                runner.release(1)
            runner.step(0, 2 - step // 20 // 2, length=step + 1, text_length=11, max_top_k=128, use_top_p=True)
        codes.append(runner.codes(0, 40))
    assert torch.equal(*codes)
    assert recorder.recorded == 6 + 1 and recorder.replayed == 43


class WrongGraphs(FakeGraphRecorder):
    """A recorder whose replays do the work and more, or fail after it."""

    def __init__(self, slots: Slots, fault: str) -> None:
        super().__init__()
        self._slots = slots
        self._fault = fault

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        replay = super().record(work)

        def wrong() -> None:
            replay()
            if self._fault == "raises":
                raise RuntimeError("CUDA error: an illegal instruction was encountered")
            if self._fault == "token":
                self._slots.tokens[0, 0, self._slots.position[0]] += 1
            elif self._fault == "position":
                self._slots.position[0] += 1
            else:
                self._slots.nonfinite[0] = True

        return wrong


@pytest.mark.parametrize("fault", ["token", "position", "nonfinite", "raises"])
def test_a_graph_recorded_while_serving_that_does_something_else_is_not_used(
    fault: str, mono: Reference, memory_log: Any
) -> None:
    plain = run_session(mono.runner(slots=5), mono)
    runner = mono.runner(slots=5)
    recorder = WrongGraphs(runner.slots, fault)
    assert runner.record_graphs(recorder, memory_log.log, budget=0).count == 0
    for one, other in zip(plain, run_session(runner, mono), strict=True):
        assert torch.equal(one[0], other[0])
    lines = memory_log.events("self_check_failed")
    assert 1 < len(lines) == recorder.recorded == recorder.replayed
    assert all((line["part"], line["instead"]) == ("graphs", "a launch for each kernel") for line in lines)


def test_the_largest_bucket_is_recorded_first(mono: Reference, memory_log: Any) -> None:
    runner = mono.runner(slots=5)
    steps: list[tuple[int, int]] = []  # slots, length
    step_fn = runner.step_fn

    def recording_step(one: BatchView, *, max_top_k: int, use_top_p: bool) -> None:
        steps.append((one.state.position.shape[0], one.length))
        step_fn(one, max_top_k=max_top_k, use_top_p=use_top_p)

    runner.step_fn = recording_step
    runner.record_graphs(FakeGraphRecorder(), memory_log.log, inf)
    assert steps == sorted(steps, reverse=True)
    assert steps[0] == (5, 128)


def test_a_bucket_that_cannot_be_recorded_is_stepped_and_logged(mono: Reference, memory_log: Any) -> None:
    plain = run_session(mono.runner(slots=5), mono)
    runner, recorder = mono.runner(slots=5), FakeGraphRecorder(fails=lambda number: number % 2 == 0)
    assert runner.record_graphs(recorder, memory_log.log, inf).count == 6
    for one, other in zip(plain, run_session(runner, mono), strict=True):
        assert torch.equal(one[0], other[0])
    lines = memory_log.events("graph_failed")
    assert len(lines) == 6 and lines[0]["slots"] == 5 and "not permitted" in lines[0]["error"]


def test_garbage_collection_is_paused_while_recording(mono: Reference, memory_log: Any) -> None:
    recorder = FakeGraphRecorder()
    assert gc.isenabled()
    mono.runner(slots=2).record_graphs(recorder, memory_log.log, inf)
    assert recorder.gc_enabled and not any(recorder.gc_enabled)
    assert gc.isenabled()


def test_rehearsals_do_not_change_slots(mono: Reference, memory_log: Any) -> None:
    runner = mono.runner(slots=2)
    before = [tensor.clone() for tensor in runner.slots.per_slot().values()]
    runner.record_graphs(FakeGraphRecorder(), memory_log.log, inf)
    for tensor, one in zip(runner.slots.per_slot().values(), before, strict=True):
        assert torch.equal(tensor, one)


def test_buckets_double_up_to_the_number_of_slots_and_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MIN_LENGTH", 256)
    buckets = make_buckets(32, 1503)
    assert sorted({bucket.slots for bucket in buckets}) == [1, 2, 4, 8, 16, 32]
    assert sorted({bucket.length for bucket in buckets}) == [256, 512, 1024, 1503]
    assert len(buckets) == 24
    assert sorted({bucket.slots for bucket in make_buckets(11, 1503)}) == [1, 2, 4, 8, 11]
    assert {bucket.length for bucket in make_buckets(1, 128)} == {128}


@pytest.fixture
def five_slots(mono: Reference, memory_log: Any) -> StepGraphs:
    runner = mono.runner(slots=5)
    return StepGraphs(runner.slots, runner.step_fn, FakeGraphRecorder(), 128, memory_log.log)


@pytest.mark.parametrize(
    ("count", "length", "found"),
    [(1, 1, (1, 32)), (1, 33, (1, 64)), (3, 64, (4, 64)), (5, 128, (5, 128)), (4, 128, (4, 128))],
)
def test_finds_the_smallest_bucket_that_holds_a_step(
    five_slots: StepGraphs, count: int, length: int, found: tuple[int, int]
) -> None:
    assert five_slots.find_bucket(count, length) == Bucket(*found)


@pytest.mark.parametrize(("count", "length"), [(6, 1), (1, 129)])
def test_refuses_a_step_beyond_every_bucket(five_slots: StepGraphs, count: int, length: int) -> None:
    with pytest.raises(ValueError, match=f"must fit a bucket, got {count} slots at positions below {length}"):
        five_slots.find_bucket(count, length)
