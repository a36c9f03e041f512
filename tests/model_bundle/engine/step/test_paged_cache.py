"""Test that neither pages nor neighbours change a clip, and that every page is returned, whatever ends a clip."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from musicgen_serving.engine.engine import Engine
from musicgen_serving.engine.errors import NonFiniteError, RequestAbandonedError
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.request import Request, Sequence
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.scheduler import Batch, RequestQueue
from musicgen_serving.engine.step import model_runner, torch_step
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.paged_attention import GatheredAttention, SlotAttention
from musicgen_serving.engine.step.slots import allocate
from tests.model_bundle.helpers.kernel_inputs import CPU, normal
from tests.model_bundle.helpers.random_weights import random_weights

CONFIG = DecoderConfig(layers=2, hidden=64, heads=4, ffn=128, vocabulary=128, codebooks=4, channels=1, pad_token=128)
POSITIONS, TEXT, SLOTS = 400, 300, 5
MAX_PAGES = 7 + 3 + 3  # of a clip: positions, text and negative prompt
WEIGHTS = random_weights(CONFIG, POSITIONS, torch.float32)


def make_runner(pages: int | None = None, slots: int = SLOTS) -> ModelRunner:
    """Return a runner whose pages are all NaN, as if an earlier clip had left them so."""
    runner = ModelRunner(CONFIG, WEIGHTS, allocate(CONFIG, slots, POSITIONS, TEXT, CPU, torch.float32, pages))
    for layer in runner.slots.kv:
        layer[:, :, 64:].fill_(torch.nan)
    return runner


def fragment(runner: ModelRunner) -> None:
    """Keep every other page, and half of the rest in adjacent pairs, from being used."""
    allocator = runner.allocator
    pages = allocator.allocate(allocator.free)
    allocator.release(pages[: len(pages) // 2 : 2])
    allocator.release(page for page in pages[len(pages) // 2 :] if page % 4 < 2)


def admit_all(runner: ModelRunner) -> None:
    """Admit clips of all kinds: texts of up to three pages, a prompt of two, greedy, without guidance or text."""
    prompt = torch.randint(128, (4, 100), generator=torch.Generator().manual_seed(1))
    kinds = [
        (300, 1, SamplingParams(), None, 0), (250, 64, SamplingParams(do_sample=False), None, 130),
        (290, 65, SamplingParams(top_p=0.9), prompt, 1), (300, 129, SamplingParams(guidance_scale=1), None, 0),
        (40, 300, SamplingParams(top_k=5), None, 300),
    ]  # fmt: skip
    for slot, (frames, tokens, params, given, negative) in enumerate(kinds):
        states = [normal(count, CONFIG.hidden, seed=slot) if count else None for count in (tokens, negative)]
        runner.admit(slot, states[0], frames, params, seed=slot, prompt=given, negative=states[1])


def decode(runner: ModelRunner, steps: int = 140) -> torch.Tensor:
    admit_all(runner)
    for _ in range(steps):
        runner.step(0, SLOTS, length=POSITIONS, text_length=TEXT, max_top_k=128, use_top_p=True)
    assert not runner.slots.nonfinite.any()
    return runner.slots.tokens.clone()


@pytest.mark.parametrize("attention", [SlotAttention, GatheredAttention])
def test_clips_in_fragmented_pages_are_bit_identical(attention: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (model_runner, torch_step):
        monkeypatch.setattr(module, "paged_attention", attention)
    runners = [make_runner(1 + SLOTS * MAX_PAGES), make_runner(301)]
    fragment(runners[1])
    plain, fragmented = (decode(runner) for runner in runners)
    tables: list[list[int]] = [runner.slots.page_table[0, :5].tolist() for runner in runners]
    assert tables[0] == [1, 2, 3, 4, 5] and tables[1] != sorted(range(tables[1][0], tables[1][0] + 5))
    assert torch.equal(fragmented, plain)
    assert len(plain.unique()) > 100


def test_both_kinds_of_attention_generate_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[torch.Tensor] = []
    for attention in (SlotAttention, GatheredAttention):
        for module in (model_runner, torch_step):
            monkeypatch.setattr(module, "paged_attention", attention)
        tokens.append(decode(make_runner(), 30))
    assert torch.equal(*tokens)


Texts = tuple[torch.Tensor | None, torch.Tensor | None]


def mixed_clips() -> list[tuple[ClipSpec, Texts]]:
    """Return twelve clips with the states of their texts: two have none, and three a negative prompt."""
    generator, clips = random.Random(3), list[tuple[ClipSpec, Texts]]()
    for seed in range(12):
        params = SamplingParams(
            max_new_tokens=generator.randrange(20, 200), guidance_scale=generator.choice([1, 1.0001, 3, 20]),
            do_sample=seed % 4 > 0, top_k=generator.choice([0, 5, 250]), top_p=generator.choice([1, 0.9]),
        )  # fmt: skip
        text = normal(generator.choice([1, 20, 64, 130]), 64, seed=seed)
        negative = normal(20 * seed + 1, 64, seed=99) if seed % 4 == 1 else None
        clips.append((ClipSpec("", seed, params), (None if seed % 5 == 2 else text, negative)))
    return clips


def count_tokens(states: torch.Tensor | None) -> list[int]:
    return [] if states is None else [1] * states.shape[0]


def run_batch(order: list[int], slots: int, pages: int | None) -> dict[int, torch.Tensor]:
    """Return each clip's codes; clips are admitted in this order, some every 11 steps, while slots and pages last."""
    clips, batch = mixed_clips(), Batch(make_runner(pages, slots), length_multiple=32)
    requests = dict[int, Request]()
    for index in order:
        text, negative = (count_tokens(states) for states in clips[index][1])
        requests[index] = Request([clips[index][0]], [[text]], [negative])
    waiting = RequestQueue(12)
    for request in requests.values():
        waiting.add(request)
    for step in itertools.count():
        for sequence in waiting.take(min(2, batch.free_slots), batch.page_budget()) if step % 11 == 0 else ():
            batch.admit(sequence, *clips[sequence.clip.seed][1])
        if batch.sequences:
            batch.step()
            batch.collect_finished()
        elif not len(waiting):
            return {index: request.wait()[0] for index, request in requests.items()}
    raise AssertionError


def test_twelve_mixed_clips_are_bit_identical_alone_and_in_any_order() -> None:
    """Products are too, as every weight here is below a million elements; see `model/quantisation.py`."""
    alone = run_batch(list(range(12)), slots=1, pages=None)
    orders = [list(range(12)), list(reversed(range(12))), random.Random(1).sample(range(12), 12)]
    for order, pages in zip(orders, (None, 25, 1 + MAX_PAGES), strict=True):
        codes = run_batch(order, 5, pages)
        assert all(torch.equal(codes[index], alone[index]) for index in range(12))
    assert len(torch.cat(list(alone.values()), dim=1).unique()) > 100


def test_a_clip_that_does_not_fit_is_not_overtaken() -> None:
    batch, waiting = Batch(make_runner(pages=1 + 6), 32), RequestQueue(9)
    lengths = [150, 300, 20]  # 3, 5 and 1 pages, and one for each text
    requests = [Request([ClipSpec("", 0, SamplingParams(max_new_tokens=one))], [[[1]]]) for one in lengths]
    for request in requests:
        waiting.add(request)
    (first,) = waiting.take(3, batch.page_budget())
    assert first.request is requests[0]
    batch.admit(first, normal(1, 64, seed=1))
    assert waiting.take(3, batch.page_budget()) == [] and len(waiting) == 2
    first.request.fail(RequestAbandonedError())
    batch.collect_finished()
    assert [one.request for one in waiting.take(3, batch.page_budget())] == requests[1:2]


# ---- with an engine

PAGES = 12  # three clips of 150 tokens


@pytest.fixture
def batch() -> Batch:
    return Batch(make_runner(1 + PAGES), 32)


@pytest.fixture
def engine(batch: Batch, memory_log: Any, one_thread: None) -> Iterator[Engine]:
    """Return a running engine with five slots, but pages for three clips."""

    def encode(texts: list[list[int]]) -> list[torch.Tensor]:
        return [normal(len(text), 64, seed=text[0]) for text in texts]

    def refuse_death() -> None:
        raise AssertionError

    running = Engine(batch, encode, max_waiting=50, log=memory_log.log, on_death=refuse_death)
    running.start()
    yield running
    running.stop()


def submit(engine: Engine, seed: int, tokens: int = 150) -> Request:
    request = Request([ClipSpec("", seed, SamplingParams(max_new_tokens=tokens))], [[[seed + 1]]])
    engine.submit(request)
    return request


def wait_for_all_pages(batch: Batch) -> None:
    """Wait until every page is free, in tables too; a clip completes shortly before it leaves its slot."""
    deadline = time.monotonic() + 30
    while batch.free_pages < PAGES and time.monotonic() < deadline:
        time.sleep(0.01)
    assert batch.free_pages == PAGES and batch.sequences == []
    slots = batch._runner.slots  # pyright: ignore[reportPrivateUsage]
    assert not slots.page_table.any() and not slots.text_table.any()


def test_clips_wait_for_pages_and_proceed(engine: Engine, batch: Batch) -> None:
    widths: list[int] = []
    step = batch.step

    def counting() -> None:
        widths.append(len(batch.sequences))
        step()

    batch.step = counting
    requests = [submit(engine, seed) for seed in range(8)]
    codes = [request.wait()[0] for request in requests]
    assert max(widths) == 3 and batch.max_sequences == 5
    wait_for_all_pages(batch)
    assert torch.equal(submit(engine, 5).wait()[0], codes[5])


def test_a_clip_waits_for_the_pages_of_its_negative_prompt_too(batch: Batch) -> None:
    clips = [ClipSpec("", seed, SamplingParams(max_new_tokens=150), "drums") for seed in range(3)]
    request = Request(clips, [[[1]]] * 3, [[1] * 129] * 3)  # 3 pages of positions, 1 and 2 of texts
    waiting = RequestQueue(9)
    waiting.add(request)
    taken = waiting.take(3, batch.page_budget())
    for sequence in taken:
        batch.admit(sequence, normal(1, 64, seed=1), normal(129, 64, seed=2))
    assert len(taken) == 2 and batch.free_pages == 0


def test_the_engine_encodes_texts_and_negative_prompts_together(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, calls = engine._encode, list[list[list[int]]]()  # pyright: ignore[reportPrivateUsage]

    def recording(texts: list[list[int]]) -> list[torch.Tensor]:
        calls.append(texts)
        return encode(texts)

    monkeypatch.setattr(engine, "_encode", recording)
    clips = [ClipSpec("", 7, SamplingParams(max_new_tokens=30)) for _ in range(3)]
    requests = [Request(clips, [[[5]], [[]], [[5]]], [[], [], [6, 1]]), Request(clips[:2], [[[]], [[]]])]
    for request in requests:
        engine.submit(request)
        request.wait()
    codes = [request.wait() for request in requests]
    assert calls == [[[5], [5], [6, 1]]]  # none for clips without a text
    assert torch.equal(codes[0][1], codes[1][0]) and torch.equal(codes[1][0], codes[1][1])
    assert not torch.equal(codes[0][0], codes[0][1]) and not torch.equal(codes[0][0], codes[0][2])


def test_pages_are_returned_by_abandoned_clips(engine: Engine, batch: Batch) -> None:
    step = batch.step

    def abandoning() -> None:
        step()
        for sequence in batch.sequences:
            if sequence.clip.seed > 0 and sequence.position == 9:
                sequence.request.fail(RequestAbandonedError())

    batch.step = abandoning
    requests = [submit(engine, seed) for seed in range(5)]
    assert requests[0].wait()[0].shape == (4, 147)
    for request in requests[1:]:
        with pytest.raises(RequestAbandonedError):
            request.wait()
    wait_for_all_pages(batch)


def test_pages_are_returned_by_clips_that_raise(engine: Engine, batch: Batch) -> None:
    run = batch._step_run  # pyright: ignore[reportPrivateUsage]

    def poisoned(first: int, count: int) -> None:
        if any(one.clip.seed == 2 and one.position == 9 for one in batch.sequences[first : first + count]):
            raise ValueError("poison")
        run(first, count)

    batch._step_run = poisoned  # pyright: ignore[reportPrivateUsage]
    requests = [submit(engine, seed) for seed in range(5)]
    with pytest.raises(ValueError, match="poison"):
        requests[2].wait()
    for request in (*requests[:2], *requests[3:]):
        request.wait()
    wait_for_all_pages(batch)


def test_pages_are_returned_by_nonfinite_clips_and_do_not_poison_the_next(engine: Engine, batch: Batch) -> None:
    expected = submit(engine, 7).wait()[0]
    admit = batch.admit

    def poison(sequence: Sequence, states: Any, negative: Any = None) -> None:
        admit(sequence, states * float("nan"), negative)

    batch.admit = poison
    for seed in range(3):
        with pytest.raises(NonFiniteError):
            submit(engine, seed).wait()
    wait_for_all_pages(batch)
    batch.admit = admit
    assert torch.equal(submit(engine, 7).wait()[0], expected)


@pytest.mark.parametrize("failing", ["text_kv", "forward"])
def test_pages_are_returned_if_admission_fails(
    failing: str, batch: Batch, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    function: Callable[..., Any] = getattr(model_runner, failing)
    failed = threading.Event()

    def fail_once(*arguments: Any) -> Any:
        if failed.is_set():
            return function(*arguments)
        failed.set()
        raise ValueError("cannot be admitted")

    monkeypatch.setattr(model_runner, failing, fail_once)
    if failing == "forward":  # only a clip with a prompt is fed at admission
        runner, prompt = batch._runner, torch.zeros((4, 5), dtype=torch.long)  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(ValueError, match="cannot be admitted"):
            runner.admit(0, normal(1, 64, seed=1), 20, SamplingParams(), 0, prompt)
        assert not runner.slots.active.any()
    else:
        with pytest.raises(ValueError, match="cannot be admitted"):
            submit(engine, 1).wait()
    wait_for_all_pages(batch)
    assert submit(engine, 2).wait()[0].shape == (4, 147)


def test_a_clip_admitted_to_an_occupied_slot_takes_its_pages_over() -> None:
    runner = make_runner(1 + 10)
    for _ in range(3):
        runner.admit(0, normal(1, 64, seed=1), 390, SamplingParams(), 0)
    assert runner.allocator.free == 10 - 8
    sequence = Sequence(Request([ClipSpec("", 0, SamplingParams(max_new_tokens=200))], [[[1]]]), 0)
    assert not Batch(runner, 32).page_budget()(sequence)
