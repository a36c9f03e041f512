"""Test that greedy decoding in float32 gives exactly the tokens of transformers' generate, with the same checkpoint."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers ships types that strict mode cannot follow.

from pathlib import Path

import pytest
import torch

from musicgen_serving.engine.model.codec import Codec
from musicgen_serving.engine.model.text_encoder import TextEncoder
from musicgen_serving.engine.model.weights import WeightFiles
from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.step import model_runner, torch_step
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.paged_attention import GatheredAttention, SlotAttention
from tests.model_bundle.helpers.reference_musicgen import Reference

FRAMES = 60


@pytest.fixture(params=[SlotAttention, GatheredAttention], autouse=True)
def attention(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test with the attention of CPUs and with that of GPUs without kernels."""
    for module in (model_runner, torch_step):
        monkeypatch.setattr(module, "paged_attention", request.param)


def run(runner: ModelRunner, steps: int, length: int = 128) -> None:
    for _ in range(steps):
        runner.step(0, 3, length=length, text_length=11, max_top_k=128, use_top_p=False)


@pytest.mark.parametrize("guidance", [3.0, 1.0])
@pytest.mark.parametrize("prompted", [False, True])
def test_codes_equal_transformers_in_shuffled_slots_next_to_a_sampled_clip(
    reference: Reference, guidance: float, prompted: bool
) -> None:
    generator = torch.Generator().manual_seed(1)
    prompt = torch.randint(0, 128, (2, reference.codebooks, 17), generator=generator) if prompted else None
    expected = reference.greedy(FRAMES, guidance, prompt)
    greedy = SamplingParams(do_sample=False, guidance_scale=guidance)
    runner = reference.runner()
    runner.admit(2, reference.states(1), FRAMES, greedy, 0, None if prompt is None else prompt[1])
    runner.admit(1, reference.states(0), FRAMES, SamplingParams(guidance_scale=2.0), 5)
    run(runner, 7)
    runner.admit(0, reference.states(0), FRAMES, greedy, 0, None if prompt is None else prompt[0])
    run(runner, FRAMES + 3)
    assert torch.equal(runner.codes(0, FRAMES), expected[0])
    assert torch.equal(runner.codes(2, FRAMES), expected[1])
    assert len(expected.unique()) > 30  # a model that repeats itself would prove little


def test_codes_equal_transformers_when_a_clip_moves_and_cache_lengths_are_bounded(mono: Reference) -> None:
    greedy = SamplingParams(do_sample=False)
    expected = mono.greedy(FRAMES, 3.0, None)
    runner = mono.runner()
    runner.admit(2, mono.states(0), FRAMES, greedy, 0)
    for position in range(30):
        runner.step(2, 1, length=position + 1, text_length=11, max_top_k=1, use_top_p=False)
    runner.move(2, 0)
    for position in range(30, FRAMES + 3):
        runner.step(0, 1, length=position + 1, text_length=11, max_top_k=1, use_top_p=False)
    assert torch.equal(runner.codes(0, FRAMES), expected[0])


def test_text_states_equal_transformers(mono: Reference, tiny_musicgen: Path) -> None:
    with WeightFiles(mono.folder) as files:
        encoder = TextEncoder(tiny_musicgen, mono.model.config, files, torch.device("cpu"))
    with torch.inference_mode():
        states = encoder.encode([mono.ids[0].tolist(), mono.ids[1, :5].tolist()])
    for text in range(2):
        torch.testing.assert_close(states[text], mono.states(text))


def test_samples_equal_transformers(reference: Reference) -> None:
    channels = reference.codebooks // 4
    codes = torch.randint(0, 128, (reference.codebooks, 25), generator=torch.Generator().manual_seed(2))
    with WeightFiles(reference.folder) as files:
        codec = Codec(reference.model.config, files, channels, torch.device("cpu"))
    with torch.inference_mode():
        sides = [codes[side::channels] for side in range(channels)]
        decode = reference.model.audio_encoder.decode
        expected = torch.cat([decode(side[None, None], [None]).audio_values[0] for side in sides])
    samples = codec.decode(codes)
    assert samples.shape == (channels, 25 * 640)
    torch.testing.assert_close(samples, expected, rtol=0, atol=1e-5)
