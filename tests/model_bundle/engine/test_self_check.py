"""Test self-verification without Triton: graphs, the first clip, packed matrices, its budget, and no trace of it."""
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musicgen_serving.engine import generator as generator_module
from musicgen_serving.engine import loading, self_check
from musicgen_serving.engine.errors import NonFiniteError
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.model.codec import Codec
from musicgen_serving.engine.model.cpu_matrices import PACKINGS
from musicgen_serving.engine.model.matrix_check import CPU_SAMPLE, MAX_ERROR, MatrixCheck
from musicgen_serving.engine.model.memory import PAGE
from musicgen_serving.engine.model.quantisation import EIGHT_BIT, Matrix, PackedMatrix, Packing, quantise
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.self_check import SelfCheck, SelfCheckError, require_sound
from musicgen_serving.engine.step import graphs
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.slots import BatchView
from musicgen_serving.engine.step.torch_step import TorchStep
from musicgen_serving.engine.trial_clips import EMPTY_SLOT, TrialClips
from tests.model_bundle.helpers.fake_graph_recorder import FakeGraphRecorder
from tests.model_bundle.helpers.reference_musicgen import Reference

Work = Callable[[], None]


@pytest.fixture(autouse=True)
def short_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MIN_LENGTH", 64)


def make_check(runner: ModelRunner, reference: Reference, log: Any, **options: Any) -> SelfCheck:
    return SelfCheck(runner, [reference.states(0), reference.states(1)], log, [], **options)


def assert_untouched(runner: ModelRunner, before: dict[str, torch.Tensor]) -> None:
    assert runner.allocator.free == runner.slots.kv[0].shape[2] // PAGE - 1
    for name, tensor in runner.slots.per_slot().items():
        assert torch.equal(tensor, before[name]), name


def copy_of_slots(runner: ModelRunner) -> dict[str, torch.Tensor]:
    return {name: one.clone() for name, one in runner.slots.per_slot().items()}


def test_correct_graphs_are_kept(mono: Reference, memory_log: Any) -> None:
    runner, recorder = mono.runner(slots=5), FakeGraphRecorder()
    runner.record_graphs(recorder, memory_log.log, inf)
    before, check = copy_of_slots(runner), make_check(runner, mono, memory_log.log)
    check.check_graphs()
    assert runner.graphs is not None and recorder.replayed == len(runner.graphs.buckets) == 8
    assert check.path.launch == "graphs" and check.replaced == [] and memory_log.lines() == []
    assert_untouched(runner, before)


@dataclass
class FaultyRecorder:
    """Record work; `fault` turns the runner, the work and all earlier work into what is replayed."""

    fault: Callable[[ModelRunner, Work, list[Work]], Work]
    runner: ModelRunner
    works: list[Work] = field(default_factory=list[Work])

    def rehearse(self, work: Work) -> None:
        work()

    def record(self, work: Work) -> Work:
        self.works.append(work)
        return self.fault(self.runner, work, self.works)


def stale_position(runner: ModelRunner, work: Work, works: list[Work]) -> Work:
    """Replay at the positions of the recording."""
    recorded = runner.slots.position.clone()

    def replay() -> None:
        runner.slots.position.copy_(recorded)
        work()

    return replay


def stale_parameters(runner: ModelRunner, work: Work, works: list[Work]) -> Work:
    """Replay with the guidance of the recording, 1."""
    return replay_with_recorded(runner.slots.guidance, work)


def stale_pages(runner: ModelRunner, work: Work, works: list[Work]) -> Work:
    """Replay with the page tables of the recording, which name the null page."""
    return replay_with_recorded(runner.slots.page_table, work)


def replay_with_recorded(state: torch.Tensor, work: Work) -> Work:
    """Return work that sees these slots' state as it is now, and leaves it as it is then."""
    recorded = state.clone()

    def replay() -> None:
        now = state.clone()
        state.copy_(recorded)
        work()
        state.copy_(now)

    return replay


def nothing(runner: ModelRunner, work: Work, works: list[Work]) -> Work:
    return lambda: None


def other_bucket(runner: ModelRunner, work: Work, works: list[Work]) -> Work:
    """Replay what was recorded last, the step of one slot."""
    return lambda: works[-1]()


def launch_error(runner: ModelRunner, work: Work, works: list[Work]) -> Work:
    def replay() -> None:
        raise RuntimeError("CUDA error: invalid argument")

    return replay


GRAPH_FAULTS = [stale_position, stale_parameters, stale_pages, nothing, other_bucket, launch_error]


@pytest.mark.parametrize("fault", GRAPH_FAULTS)
def test_a_wrong_graph_is_detected_and_no_graph_is_used(fault: Any, mono: Reference, memory_log: Any) -> None:
    runner = mono.runner(slots=4)
    runner.record_graphs(FaultyRecorder(fault, runner), memory_log.log, inf)
    before, check = copy_of_slots(runner), make_check(runner, mono, memory_log.log)
    check.check_graphs()
    assert runner.graphs is None and check.path.launch == "eager" and check.replaced == ["graphs"]
    (line,) = memory_log.lines()
    assert (line["event"], line["part"], line["instead"]) == ("self_check_failed", "graphs", "a launch for each kernel")
    assert "Bucket(slots=" in line["error"] or "CUDA error" in line["error"]
    assert_untouched(runner, before)


@pytest.mark.parametrize("fault", [stale_position, stale_parameters, stale_pages, nothing, other_bucket])
def test_a_wrong_graph_would_be_used_without_the_comparison(
    fault: Any, mono: Reference, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = mono.runner(slots=4)
    runner.record_graphs(FaultyRecorder(fault, runner), memory_log.log, inf)
    monkeypatch.setattr(self_check, "require", lambda holds, sentence: None)
    make_check(runner, mono, memory_log.log).check_graphs()
    assert runner.graphs is not None and memory_log.lines() == []


class FakeKernels:
    """A step in place of kernels, with a fault planted in its logits."""

    def __init__(self, runner: ModelRunner, fault: Callable[[torch.Tensor], torch.Tensor] = lambda logits: logits):
        self._torch = TorchStep(runner.config, runner.weights)
        self._fault = fault
        self._last = torch.empty(0)
        self.steps = 0

    def __call__(self, view: BatchView, *, max_top_k: int, use_top_p: bool) -> None:
        self._last, self.steps = self._fault(self._torch.logits(view)), self.steps + 1
        self._torch.advance(view, self._last, max_top_k=max_top_k, use_top_p=use_top_p)

    def last_logits(self, slots: int) -> torch.Tensor:
        return self._last


def test_two_nearly_equal_logits_may_change_places(mono: Reference, memory_log: Any) -> None:
    runner = mono.runner()
    noise = torch.Generator().manual_seed(0)
    step = FakeKernels(runner, lambda x: x + x.std() * 0.005 * torch.randn(x.shape, generator=noise))
    check = make_check(runner, mono, memory_log.log)
    check.check_step(step)
    assert memory_log.lines() == [] and 0.003 < check.figures["logits_error"] < 0.01


def test_each_batch_size_is_stepped_at_each_position_with_one_slot_empty(
    mono: Reference, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, seen = mono.runner(slots=6), list[tuple[list[int], list[bool]]]()
    step = FakeKernels(runner)
    call = FakeKernels.__call__

    def recording(self: FakeKernels, view: BatchView, **bounds: Any) -> None:
        seen.append((view.state.position.tolist(), view.state.active.tolist()))
        call(self, view, **bounds)

    monkeypatch.setattr(FakeKernels, "__call__", recording)
    make_check(runner, mono, memory_log.log).check_step(step)
    assert memory_log.lines() == []
    longest = 128 - 3 - 4
    firsts = [positions[0] for positions, _ in seen]
    assert firsts == [0, 1, 5, 6, longest, longest + 1] * 2 + [0, 1, 5, 6] + [5, 6] * 2
    assert [len(positions) for positions, _ in seen] == [1] * 6 + [4] * 6 + [6] * 4 + [1] * 2 + [4] * 2
    assert seen[15] == ([6, 6, 20, 0, 34, 41], [True, True, True, False, True, True])


@dataclass
class Clock:
    """Each reading is a second later."""

    seconds: float = 0.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


def test_the_budget_ends_trials_and_names_those_left_out(mono: Reference, memory_log: Any) -> None:
    runner = mono.runner()
    step = FakeKernels(runner)
    check = make_check(runner, mono, memory_log.log, budget=6, now=Clock())
    check.check_step(step)
    line, negative = memory_log.lines()
    assert line["event"] == negative["event"] == "self_check_incomplete" and line["seconds"] == 3.5
    assert line["unchecked"] == [f"Trial(slots=3, position={position}, text_rows=1)" for position in (0, 5, 121)]
    assert negative["unchecked"] == ["Trial(slots=3, position=5, text_rows=2)"]
    assert step.steps == 2 * 3 + 2


def test_the_budget_ends_comparisons_of_graphs(mono: Reference, memory_log: Any) -> None:
    runner, recorder = mono.runner(slots=4), FakeGraphRecorder()
    runner.record_graphs(recorder, memory_log.log, inf)
    make_check(runner, mono, memory_log.log, budget=2, now=Clock()).check_graphs()
    (line,) = memory_log.lines()
    assert recorder.replayed == 2 and len(line["unchecked"]) == 6 - 2 and runner.graphs is not None


def test_as_many_clips_are_tried_as_there_are_pages(mono: Reference, memory_log: Any) -> None:
    runner = mono.runner(slots=8, pages=1 + 3 + 3)  # one of 128 positions and a text, and a second
    before = copy_of_slots(runner)
    with TrialClips(runner, [mono.states(0)]) as clips:
        assert clips.clips == 2 and runner.allocator.free == 0
    assert_untouched(runner, before)
    step = FakeKernels(runner, lambda x: x * torch.where(torch.arange(len(x)) == 1, 2, 1)[:, None, None, None])
    make_check(runner, mono, memory_log.log).check_step(step)
    assert "Trial(slots=4, position=0, text_rows=1)" in memory_log.events("self_check_failed")[0]["error"]


def test_slots_and_pages_are_free_if_a_trial_clip_cannot_be_admitted(
    mono: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = mono.runner(slots=5)
    before, admit = copy_of_slots(runner), runner.admit

    def failing(slot: int, *rest: Any, **named: Any) -> int:
        if slot == EMPTY_SLOT + 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return admit(slot, *rest, **named)

    monkeypatch.setattr(runner, "admit", failing)
    with pytest.raises(torch.OutOfMemoryError), TrialClips(runner, [mono.states(0)]):
        pass
    assert_untouched(runner, before)


@pytest.mark.parametrize(
    ("samples", "sound"),
    [
        (np.zeros((1, 640)), False),
        (np.full((2, 640), 0.25), False),  # no sound either
        (np.tile([0.5, 0.5 + 2.0**-17], (1, 320)), False),  # rounded away in 16 bits
        (np.stack([np.zeros(640), np.sin(np.arange(640.0)) * 1e-3]), True),  # one of two channels, at -60 dB
    ],
)
def test_a_clip_is_silent_if_16_bits_hold_no_sound(samples: Any, sound: bool) -> None:
    if sound:
        require_sound(samples)
    else:
        with pytest.raises(SelfCheckError, match="must not be silent"):
            require_sound(samples)


def load(folder: Path, log: Any, **options: Any) -> Generator:
    return Generator(folder, weight_format=WeightFormat(**options), capacity=Capacity(slots=3), log=log)


@pytest.mark.usefixtures("one_thread")
def test_a_silent_codec_is_refused(staged_musicgen: Path, memory_log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = Codec.decode_part

    def silent(self: Codec, *given: Any, **more: Any) -> Iterator[torch.Tensor]:
        for samples in decode(self, *given, **more):
            yield samples * 0

    monkeypatch.setattr(Codec, "decode_part", silent)
    with pytest.raises(SelfCheckError, match="a first clip must not be silent"):
        load(staged_musicgen, memory_log.log)
    assert memory_log.events("loaded") == []
    monkeypatch.setattr(generator_module, "require_sound", lambda samples: None)
    load(staged_musicgen, memory_log.log).close()
    assert memory_log.events("loaded")


@pytest.mark.usefixtures("one_thread")
def test_weights_that_are_not_numbers_are_refused(
    staged_musicgen: Path, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = loading.load_decoder

    def damaged(*given: Any) -> Any:
        weights = plain(*given)
        weights.final_norm.weight[3] = torch.nan
        return weights

    monkeypatch.setattr(loading, "load_decoder", damaged)
    with pytest.raises(NonFiniteError, match="logits"):
        load(staged_musicgen, memory_log.log)


@pytest.mark.usefixtures("one_thread")
def test_a_first_clip_that_kernels_spoil_is_generated_again_by_torch(
    staged_musicgen: Path, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = loading.load_parts

    def with_kernels(*given: Any) -> Any:
        parts = plain(*given)
        parts.runner.step_fn = FakeKernels(parts.runner, lambda logits: logits * torch.nan)
        return parts

    monkeypatch.setattr(generator_module, "load_parts", with_kernels)
    generator = load(staged_musicgen, memory_log.log)
    assert isinstance(generator.runner.step_fn, TorchStep)
    (line,) = memory_log.events("self_check_failed")
    assert line["part"] == "kernels" and "NonFiniteError" in line["error"]
    (loaded,) = memory_log.events("loaded")
    assert loaded["step"] == "torch" and loaded["replaced"] == ["kernels"]
    generator.close()


def test_the_first_clip_is_not_in_the_statistics(generator: Any) -> None:
    stats = generator.engine._stats
    before = stats._steps, stats._tokens
    generator.generate([ClipSpec("", 0, SamplingParams(max_new_tokens=8))])
    assert (stats._steps - before[0], stats._tokens - before[1]) == (8, 8)
    generator.engine.reset_statistics()
    assert (stats._steps, stats._tokens, stats._busy) == (0, 0, 0)


# Matrices


def weight(rows: int = 96, columns: int = 128) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(1)) * columns**-0.5


@pytest.mark.parametrize(("kind", "margin"), [("float32", 20), ("float16", 2), ("int8", 2)])
def test_correct_matrices_stay_below_the_tolerance(kind: str, margin: float) -> None:
    check = MatrixCheck(PACKINGS[kind])
    for name in ("qkv", "ffn_out", "heads"):
        check.packing.pack(name, weight())
    assert 0 < check.error < MAX_ERROR[kind] / margin


def test_8_bit_matrices_of_a_gpu_stay_below_the_tolerance() -> None:
    check = MatrixCheck(EIGHT_BIT)
    check.packing.pack("qkv", weight())
    assert 0.004 < check.error < MAX_ERROR["int8"] / 4
    outliers = weight()
    outliers[:, 0] = 100  # a step of 0.8, in which everything else is lost
    outliers[:, 1:] *= 0.1
    check.packing.pack("qkv", outliers)
    assert check.error < MAX_ERROR["int8"] / 4  # the product is the outlier's
    check.packing.pack("heads", weight())


class WrongMatrix(PackedMatrix):
    """A matrix whose product leaves out the last input."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(weight)
        self._weight = weight.clone()
        self._weight[:, -1] = 0

    def product(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self._weight.t()


class NanMatrix(PackedMatrix):
    def product(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_full((len(x), self.shape[0]), torch.nan)


@pytest.mark.parametrize("kind", range(CPU_SAMPLE))
def test_the_sample_has_a_matrix_of_each_layer_and_each_kind_in_seven_layers(kind: int) -> None:
    packed: list[int] = []

    def pack(one: torch.Tensor) -> Matrix:
        packed.append(0)
        return WrongMatrix(one) if (len(packed) - 1) % 7 == kind else quantise(one)

    check = MatrixCheck(Packing(pack), CPU_SAMPLE)
    for layer in range(1, 8):
        for _ in range(7):
            check.packing.pack("qkv", weight(8, 8))
        assert len(check._errors) == layer
    assert check.error > MAX_ERROR["int8"]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("matrix", [WrongMatrix, NanMatrix])
def test_wrong_packed_matrices_are_replaced_by_plain_ones(
    matrix: Any, staged_musicgen: Path, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "cpu_packing", lambda name, log: (name, Packing(matrix)))
    generator = load(staged_musicgen, memory_log.log)
    assert isinstance(generator.runner.weights.layers[0].qkv, torch.Tensor)
    (line,) = memory_log.events("self_check_failed")
    assert (line["part"], line["instead"]) == ("matrices", "plain float32 matrices")
    (loaded,) = memory_log.events("loaded")
    assert loaded["weights"] == "float32" and loaded["replaced"] == ["matrices"] and loaded["step"] == "torch"
    generator.close()


@pytest.mark.usefixtures("one_thread")
def test_8_bit_matrices_that_lose_too_much_are_refused(
    staged_musicgen: Path, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "cpu_packing", lambda name, log: (name, Packing(WrongMatrix)))
    with pytest.raises(ValueError, match=r"must be within 5% .* set MUSICGEN_WEIGHT_QUANTISATION=none"):
        load(staged_musicgen, memory_log.log, eight_bit=True)
