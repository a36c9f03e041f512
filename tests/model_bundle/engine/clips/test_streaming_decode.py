"""Test that a clip is decoded while it is generated, and sounds the same as if it were decoded at its end."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from local_aws.hub.tiny_model import make_tiny_musicgen
from musicgen_serving.engine.codec_worker import AudioPart
from musicgen_serving.engine.completion_queue import CompletionQueue
from musicgen_serving.engine.errors import NonFiniteError
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.model.codec import CHUNK, LOOKAHEAD
from musicgen_serving.engine.request import ClipPart, Request, Sequence
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams, Section
from musicgen_serving.engine.scheduler import Batch
from tests.model_bundle.helpers.memory_log import MemoryLog

HOP = 640
FIRST = CHUNK + LOOKAHEAD  # frames with which the first chunk can be decoded


def params(frames: int, **more: Any) -> SamplingParams:
    return SamplingParams(max_new_tokens=frames + 3, **more)


def music(channels: int, frames: int) -> Any:
    chance = np.random.default_rng(frames)
    return chance.normal(0, 0.1, (channels, frames * HOP)).astype(np.float32)


SECTIONS = (Section("a", 300), Section("b", 310), Section("c", 290))


@pytest.fixture(scope="module")
def generators(
    generator: Generator, staged_stereo: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Generator]]:
    folder = tmp_path_factory.mktemp("melody")
    make_tiny_musicgen(folder, melody=True)
    weight_format, log = WeightFormat(dtype="float32"), MemoryLog().log
    stereo, melody = (
        Generator(one, weight_format=weight_format, capacity=Capacity(slots=2), log=log)
        for one in (staged_stereo, folder)
    )
    yield {"mono": generator, "stereo": stereo, "melody": melody}
    stereo.close()
    melody.close()


CLIPS = {  # the model, the clip, and the frames with which its parts begin
    "one chunk exactly": ("mono", ClipSpec("a", 1, params(CHUNK)), [0]),
    "less than a chunk and what must follow it": ("mono", ClipSpec("a", 1, params(FIRST - 1)), [0]),
    "a chunk and what must follow it": ("mono", ClipSpec("a", 1, params(FIRST)), [0]),
    "one frame more": ("mono", ClipSpec("a", 1, params(FIRST + 1)), [0, 250]),
    "three chunks": ("stereo", ClipSpec("a", 1, params(700)), [0, 250, 500]),
    "negative prompt": ("mono", ClipSpec("a", 1, params(300), negative_prompt="b"), [0, 250]),
    "sections": ("mono", ClipSpec(None, 1, params(10), sections=SECTIONS), [0, 250, 500, 750]),
    "windows": (
        "mono", ClipSpec("a", 1, params(2100, stride=1000)), [0, 250, 500, 750, 1000, 1250, 1500, 1750, 2000]
    ),
    "continuation": ("stereo", ClipSpec("a", 1, params(300), prompt=music(2, 270)), [0, 250, 500]),
    "long continuation": ("stereo", ClipSpec("a", 1, params(40), prompt=music(2, 800)), [0, 750]),
    "melody": ("melody", ClipSpec("a", 1, params(600), melody=music(1, 100)), [0, 250, 500]),
}  # fmt: skip


@pytest.mark.parametrize(("model", "clip", "starts"), CLIPS.values(), ids=CLIPS)
def test_parts_together_are_the_decode_of_the_whole(
    generators: dict[str, Generator], model: str, clip: ClipSpec, starts: list[int]
) -> None:
    generator, parts = generators[model], list[AudioPart]()
    (codes,) = generator.generate([clip], deliver=parts.append).codes
    assert [part.start // HOP for part in parts] == starts
    assert {part.total for part in parts} == {codes.shape[1] * HOP}
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    whole = generator.codec_worker.codec.decode(torch.as_tensor(codes)).numpy()
    np.testing.assert_array_equal(np.concatenate([part.samples for part in parts], axis=1), whole)


def test_parts_leave_the_excerpt_out_of_a_continuation(generators: dict[str, Generator]) -> None:
    """It is decoded nevertheless: what follows begins as it does after the excerpt."""
    clip = ClipSpec("a", 1, params(300), prompt=music(2, 270))
    (whole,) = generators["stereo"].generate([clip]).clips
    parts: list[AudioPart] = []
    generators["stereo"].generate([replace(clip, return_prompt=False)], deliver=parts.append)
    assert [part.start // HOP for part in parts] == [0, 500 - 270]
    np.testing.assert_array_equal(np.concatenate([part.samples for part in parts], axis=1), whole[:, 270 * HOP :])


def test_first_part_comes_while_the_rest_is_generated(generators: dict[str, Generator]) -> None:
    """The engine stands still at the clip's last step until its first part is delivered."""
    generator, delivered = generators["mono"], threading.Event()
    step, parts = generator.batch.step, list[int]()

    def hold() -> None:
        if generator.batch.sequences[0].position == 300:
            assert delivered.wait(30)
        step()

    def deliver(part: AudioPart) -> None:
        parts.append(part.start)
        delivered.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator.batch, "step", hold)
        generator.generate([ClipSpec("a", 1, params(500))], deliver=deliver)
    assert parts == [0, CHUNK * HOP]


def test_parts_leave_as_soon_as_a_chunk_can_be_decoded(mono: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(mono.runner(slots=2, positions=700), 32)
    request = Request([ClipSpec("", seed, params(frames)) for seed, frames in enumerate((600, 200))], [[[1] * 11]] * 2)
    for index in range(2):
        batch.admit(Sequence(request, index), mono.states(0))
    left: list[tuple[int, int, int]] = []  # after how many steps, and frames of which clip

    def noting(part: ClipPart) -> None:
        left.append((steps, part.index, part.codes.shape[1]))
        add(part)

    add, steps = request.add_part, 0
    monkeypatch.setattr(request, "add_part", noting)
    while batch.sequences:
        steps += 1
        batch.step()
        batch.collect_finished()
    assert left == [(203, 1, 200), (FIRST + 3, 0, FIRST), (FIRST + CHUNK + 3, 0, CHUNK), (603, 0, 600 - CHUNK - FIRST)]
    assert batch.unfinished == [] and [codes.shape[1] for codes in request.wait()] == [600, 200]


def test_logits_that_are_not_finite_fail_the_request_with_its_next_part(generators: dict[str, Generator]) -> None:
    generator, delivered = generators["mono"], list[AudioPart]()
    step = generator.batch.step

    def poison() -> None:
        if generator.batch.sequences[0].position == 400:
            generator.runner.slots.nonfinite[0] = True
        step()

    with pytest.MonkeyPatch.context() as patch, pytest.raises(NonFiniteError, match="logits"):
        patch.setattr(generator.batch, "step", poison)
        generator.generate([ClipSpec("a", 1, params(1400))], deliver=delivered.append)
    assert [part.start for part in delivered] in ([], [0])  # not the chunk in which it happened
    assert len(generator.generate([ClipSpec("a", 1, params(10))]).clips) == 1


def test_a_part_that_is_pending_does_not_count_as_a_clip_in_flight() -> None:
    class Event:
        def query(self) -> bool:
            return False

        def synchronize(self) -> None: ...

    completions = CompletionQueue(Event)
    sequence = Sequence(Request([ClipSpec("", 0, params(500))], [[[1]]]), 0)
    completions.add(sequence, torch.zeros((4, 258), dtype=torch.long), torch.tensor(False), last=False)
    completions.complete(wait=False)
    assert completions.sequences == []
