"""Test that neither steps nor admissions wait for the device, or copy anything to it except a text."""

# pyright: reportUnknownMemberType=false
# transformers ships types that strict mode cannot follow.

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.text_encoder import TextEncoder
from musicgen_serving.engine.model.weights import WeightFiles
from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.slots import allocate, batch_view
from musicgen_serving.engine.step.torch_step import TorchStep
from tests.model_bundle.helpers.random_weights import random_weights
from tests.model_bundle.helpers.record_operations import META, RecordOperations, to_device
from tests.model_bundle.helpers.reference_musicgen import CPU, Reference

SIZES = DecoderConfig(layers=2, hidden=64, heads=4, ffn=128, vocabulary=128, codebooks=4, channels=1, pad_token=128)


def test_admitting_moving_and_releasing_clips_does_not_wait() -> None:
    weights = to_device(META, random_weights(SIZES, 64, torch.float16))
    runner = ModelRunner(SIZES, weights, allocate(SIZES, 4, 64, 16, META, torch.float16))
    states, params = torch.empty(5, 64, device=META), SamplingParams(max_new_tokens=23, top_p=0.9)
    runner.admit(0, states, 20, params, 1)  # fills caches of constants
    with RecordOperations() as operations:
        runner.admit(1, states, 20, params, 2)
        runner.admit(2, states, 20, params, 2, negative=states)
        runner.admit(3, None, 20, params, 2)
        runner.codes(0, 20)
        runner.release(0)
        runner.move(1, 0)
    assert len(operations.names) > 100
    assert operations.synchronizing == [] and operations.devices == {META}


def test_admitting_a_clip_with_a_melody_does_not_wait() -> None:
    sizes = replace(SIZES, chroma_frames=20, chroma_bins=12)
    weights = to_device(META, random_weights(sizes, 64, torch.float16))
    runner = ModelRunner(sizes, weights, allocate(sizes, 2, 64, 0, META, torch.float16))
    states, melody = torch.empty(5, 64, device=META), torch.empty(7, 12, device=META)
    runner.admit(0, states, 20, SamplingParams(), 1, melody=melody)  # fills caches of constants
    with RecordOperations() as operations:
        runner.admit(1, states, 20, SamplingParams(), 2, negative=states, melody=melody)
        runner.codes(0, 20)
    assert len(operations.names) > 100
    assert operations.synchronizing == [] and operations.devices == {META}


def test_encoding_texts_does_not_wait(mono: Reference, tiny_musicgen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with WeightFiles(mono.folder) as files:
        encoder = TextEncoder(tiny_musicgen, mono.model.config, files, CPU)
    encoder._model.to(META)  # pyright: ignore[reportPrivateUsage, reportArgumentType]
    inputs: list[torch.Size] = []

    def to_meta(tensor: torch.Tensor) -> torch.Tensor:
        inputs.append(tensor.shape)
        return torch.empty_like(tensor, device=META)

    monkeypatch.setattr(encoder, "_device", META)
    monkeypatch.setattr(encoder, "_to_device", to_meta)
    with RecordOperations() as operations:
        states = encoder.encode([[5, 6, 7, 1], [8, 1]])
    assert [state.shape[0] for state in states] == [4, 2]
    assert inputs == [(1, 4), (1, 1, 1, 4), (1, 2), (1, 1, 1, 2)]  # tokens and mask of each text: no other's padding
    assert operations.synchronizing == ["aten.lift_fresh.default"] * 2  # creating the tokens on the host


@pytest.mark.parametrize(("count", "text_rows"), [(1, 1), (4, 1), (4, 2)])
def test_a_step_neither_waits_for_the_device_nor_copies_to_it(count: int, text_rows: int) -> None:
    slots = allocate(SIZES, 4, 64, 16, META, torch.float16)
    weights = random_weights(SIZES, 64, torch.float16)
    step, one = TorchStep(SIZES, to_device(META, weights)), batch_view(slots, 0, count, 64, 16, text_rows)
    step(one, max_top_k=128, use_top_p=True)  # fills caches of constants
    with RecordOperations() as operations, torch.inference_mode():
        step(one, max_top_k=128, use_top_p=True)
    assert len(operations.names) > 50
    assert operations.synchronizing == []
    assert operations.devices == {META}


def test_the_check_detects_operations_that_wait() -> None:
    tensor = torch.zeros(3, device=META)
    with RecordOperations() as operations:
        torch.tensor([1.0]).to(META)
        assert torch.ones(1)[0] == 1
        torch.ones(3).nonzero()
    assert operations.devices == {META, CPU}
    assert {"lift_fresh", "nonzero"} <= {name.split(".")[1] for name in operations.synchronizing}
    with pytest.raises(RuntimeError, match="meta"):
        bool(tensor[0])
    with pytest.raises(RuntimeError, match="not on the expected device"):
        torch.add(tensor, torch.ones(3))
