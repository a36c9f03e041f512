"""EnCodec decoded in chunks sounds as it does decoded whole, at the published model's shapes."""
# pyright: reportCallIssue=false, reportUnknownMemberType=false
# transformers ships types that strict mode cannot follow.

from typing import Any

import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from musicgen_serving.engine.model import codec
from musicgen_serving.engine.model.codec import ChunkedDecoder

FRAMES = 53
SAMPLES_PER_FRAME = 640
TOLERANCE = 1e-5  # of the loudest sample


@pytest.fixture(scope="module", params=[False, True], ids=["as_published", "causal"])
def decoder(request: pytest.FixtureRequest, one_thread: None) -> Any:
    """The decoder of `facebook/encodec_32khz` with random weights; the family's other models are causal."""
    config = EncodecConfig(
        target_bandwidths=[2.2], sampling_rate=32000, audio_channels=1, normalize=False, hidden_size=128,
        num_filters=64, num_residual_layers=1, upsampling_ratios=[8, 5, 4, 4], codebook_size=2048, codebook_dim=128,
        use_causal_conv=request.param, num_lstm_layers=2, norm_type="weight_norm", use_conv_shortcut=False,
    )  # fmt: skip
    torch.manual_seed(3)
    return EncodecModel(config).eval().decoder


def _error(decoder: Any, count: int, chunk: int) -> float:
    frames = torch.randn(2, 128, count, generator=torch.Generator().manual_seed(count))
    with torch.inference_mode():
        whole = decoder(frames)
        chunked = ChunkedDecoder(list(decoder.layers), SAMPLES_PER_FRAME)(frames, chunk)
    assert chunked.shape == whole.shape
    return float((chunked - whole).abs().max() / whole.abs().max())


@pytest.mark.parametrize("chunk", [1, 2, 3, 10, FRAMES - 1, FRAMES, FRAMES + 1])
def test_chunks_of_any_length_give_the_samples_of_the_whole(decoder: Any, chunk: int) -> None:
    assert _error(decoder, FRAMES, chunk) <= TOLERANCE


@pytest.mark.parametrize("count", range(1, 9))
def test_clips_shorter_than_the_convolutions_reach_do_too(decoder: Any, count: int) -> None:
    assert max(_error(decoder, count, chunk) for chunk in (1, 2, 3)) <= TOLERANCE


@pytest.mark.parametrize("surroundings", ["BEFORE_LSTM", "AFTER_LSTM"])
def test_fewer_surroundings_would_be_heard(decoder: Any, surroundings: str, monkeypatch: pytest.MonkeyPatch) -> None:
    too_few = {"BEFORE_LSTM": 2, "AFTER_LSTM": 0}
    monkeypatch.setattr(codec, surroundings, too_few[surroundings])
    assert _error(decoder, FRAMES, 10) > 1e-3
