"""Test that EnCodec decodes the same samples in chunks as in one pass, with the published kernels and strides."""
# pyright: reportCallIssue=false, reportUnknownMemberType=false
# transformers ships types that strict mode cannot follow.

import random
from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from musicgen_serving.engine.model import codec
from musicgen_serving.engine.model.codec import LOOKAHEAD, ChunkedDecode, ChunkedDecoder

FRAMES = 31  # three chunks of ten and a frame
SAMPLES_PER_FRAME = 640
TOLERANCE = 1e-5  # of the loudest sample


@pytest.fixture(scope="module", params=[False, True], ids=["as_published", "causal"])
def decoder(request: pytest.FixtureRequest, one_thread: None) -> Any:
    """Return the decoder of `facebook/encodec_32khz`, a quarter as wide and random; the family's others are causal."""
    config = EncodecConfig(
        target_bandwidths=[2.2], sampling_rate=32000, audio_channels=1, normalize=False, hidden_size=128,
        num_filters=16, num_residual_layers=1, upsampling_ratios=[8, 5, 4, 4], codebook_size=2048, codebook_dim=128,
        use_causal_conv=request.param, num_lstm_layers=2, norm_type="weight_norm", use_conv_shortcut=False,
    )  # fmt: skip
    torch.manual_seed(3)
    return EncodecModel(config).eval().decoder


def relative_error(decoder: Any, count: int, chunk: int) -> float:
    frames = torch.randn(2, 128, count, generator=torch.Generator().manual_seed(count))
    with torch.inference_mode():
        whole = decoder(frames)
        chunked = ChunkedDecoder(list(decoder.layers), SAMPLES_PER_FRAME)(frames, chunk)
    assert chunked.shape == whole.shape
    return float((chunked - whole).abs().max() / whole.abs().max())


@pytest.mark.parametrize("chunk", [1, 2, 3, 10, FRAMES - 1, FRAMES, FRAMES + 1])
def test_chunks_of_any_length_give_the_samples_of_one_pass(decoder: Any, chunk: int) -> None:
    assert relative_error(decoder, FRAMES, chunk) <= TOLERANCE


@pytest.mark.parametrize("count", range(1, 9))
def test_clips_shorter_than_the_convolutions_context_do_too(decoder: Any, count: int) -> None:
    assert max(relative_error(decoder, count, chunk) for chunk in (1, 2, 3)) <= TOLERANCE


@pytest.mark.parametrize("seed", range(2))
def test_a_clip_that_comes_in_parts_gives_the_same_samples_as_at_once(decoder: Any, seed: int) -> None:
    """To the last bit: nothing is computed in another shape."""
    chance = random.Random(seed)
    frames = torch.randn(2, 128, FRAMES, generator=torch.Generator().manual_seed(seed))
    shared = ChunkedDecoder(list(decoder.layers), SAMPLES_PER_FRAME)
    ends = sorted({*chance.sample(range(1, FRAMES), chance.randint(1, 9)), FRAMES})
    decode, samples = ChunkedDecode(shared, chunk=10), list[torch.Tensor]()
    with torch.inference_mode():
        for start, end in pairwise((0, *ends)):
            samples += decode.add(frames[..., start:end], last=end == FRAMES)
            heard = sum(one.shape[-1] for one in samples) // SAMPLES_PER_FRAME
            assert heard == (FRAMES if end == FRAMES else max(0, end - LOOKAHEAD) // 10 * 10)
        assert torch.equal(torch.cat(samples, dim=-1), shared(frames, 10))


@pytest.mark.parametrize(("constant", "too_small"), [("BEFORE_LSTM", 2), ("AFTER_LSTM", 0)])
def test_less_context_would_change_the_samples(
    decoder: Any, constant: str, too_small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, constant, too_small)
    assert relative_error(decoder, FRAMES, 10) > 1e-3
