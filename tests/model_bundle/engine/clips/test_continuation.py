"""Continuing audio: EnCodec's codes and what is generated after them equal transformers', mono and stereo."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportPrivateUsage=false
# pyright: reportCallIssue=false, reportOptionalSubscript=false, reportIndexIssue=false
# transformers ships types that strict mode cannot follow.

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import EncodecConfig, EncodecModel, MusicgenConfig

from musicgen_serving.engine.engine import Engine
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.model.codec import Codec
from musicgen_serving.engine.model.weights import WeightFiles
from musicgen_serving.engine.request import ClipPart, Request, Sequence
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.scheduler import Batch
from tests.model_bundle.helpers.memory_log import MemoryLog
from tests.model_bundle.helpers.reference_musicgen import (
    CPU,
    POSITIONS,
    Reference,
    make_reference,
    standardise_embeddings,
)

GREEDY = {"do_sample": False, "guidance_scale": 3.0}


def music(channels: int, samples: int, seed: int = 0) -> Any:
    """Return [channels, samples] of chords that change, and noise: no two frames are alike."""
    rng = np.random.default_rng(seed)
    time_axis = np.arange(samples) / 32000
    sides: list[Any] = []
    for _ in range(channels):
        pitch = 110 * 2 ** (rng.integers(0, 36, 1 + samples // 3200).repeat(3200)[:samples] / 12)
        sides.append(0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / 32000) * np.cos(9 * time_axis))
    return (np.stack(sides) + rng.normal(0, 0.2, (channels, samples))).astype(np.float32)


@pytest.fixture(scope="module", params=[1, 2], ids=["mono", "stereo"])
def listening(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Reference:
    """A checkpoint whose codes follow the audio."""
    folder = tmp_path_factory.mktemp("listening")
    return make_reference(folder, request.param, listen_to=torch.from_numpy(music(1, 64_000, seed=9)[0]))


@pytest.fixture(scope="module")
def codec(listening: Reference) -> Codec:
    return read_codec(listening.folder)


def read_codec(folder: Path) -> Codec:
    config = MusicgenConfig.from_pretrained(folder)
    with WeightFiles(folder) as files:
        return Codec(config, files, config.decoder.audio_channels, CPU)


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 12_345, 64_000])
def test_codes_are_those_of_transformers_encode_for_any_length(
    samples: int, listening: Reference, codec: Codec
) -> None:
    audio = torch.from_numpy(music(codec.channels, samples))
    codes = codec.encode(audio)
    assert codes.shape == (4 * codec.channels, -(-samples // 640)) and codes.dtype == torch.int64
    with torch.inference_mode():
        for side in range(codec.channels):
            expected = listening.model.audio_encoder.encode(audio[None, side : side + 1]).audio_codes
            assert torch.equal(codes[side :: codec.channels], expected[0, 0])
    if samples == 64_000:
        assert len(codes.unique()) >= 40  # an encoder that hears nothing would prove little


def test_codes_at_the_published_shapes_are_those_of_transformers(one_thread: None) -> None:
    """Of `facebook/encodec_32khz` with random weights."""
    config = EncodecConfig(
        target_bandwidths=[2.2], sampling_rate=32000, audio_channels=1, normalize=False, hidden_size=128,
        num_filters=64, num_residual_layers=1, upsampling_ratios=[8, 5, 4, 4], codebook_size=2048, codebook_dim=128,
        use_causal_conv=False, num_lstm_layers=2, norm_type="weight_norm", use_conv_shortcut=False,
    )  # fmt: skip
    torch.manual_seed(3)
    model = EncodecModel(config).eval()
    audio = torch.from_numpy(music(1, 32_000))
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    standardise_embeddings(model, audio[0])
    state = {f"audio_encoder.{name}": tensor for name, tensor in model.state_dict().items()}

    class Files:
        def names(self, prefix: str) -> list[str]:
            return list(state)

        def read(self, name: str) -> torch.Tensor:
            return state[name]

    musicgen: Any = type("Config", (), {"audio_encoder": config})
    files: Any = Files()
    codes = Codec(musicgen, files, 1, CPU).encode(audio)
    with torch.inference_mode():
        expected = model.encode(audio[None]).audio_codes[0, 0]
    assert torch.equal(codes, expected) and len(codes.unique()) > 100


@pytest.mark.parametrize(("name", "value"), [("normalize", True), ("chunk_length_s", 1.0)])
def test_an_encodec_that_scales_or_cuts_its_input_is_refused_on_loading(
    name: str, value: object, listening: Reference
) -> None:
    config = MusicgenConfig.from_pretrained(listening.folder)
    setattr(config.audio_encoder, name, value)
    with WeightFiles(listening.folder) as files, pytest.raises(ValueError, match=rf"audio_encoder\.{name} must be"):
        Codec(config, files, 1, CPU)


# ---- generation


def generated(
    reference: Reference, clips: list[ClipSpec], tokens: list[list[int]], prompts: Any, positions: int = POSITIONS
) -> list[torch.Tensor]:
    """Return the codes of clips that the engine's batch generates, with the reference's encoded texts."""
    runner = reference.runner(slots=len(clips), positions=positions)
    batch, free = Batch(runner, length_multiple=32), runner.allocator.free
    texts = {tuple(one): reference.states(index) for index, one in enumerate(tokens) if one}
    log = MemoryLog()
    engine = Engine(
        batch, lambda ids: [texts[tuple(one)] for one in ids], max_waiting=9, log=log.log, on_death=lambda: None
    )
    engine.start()
    try:
        request = Request(clips, [[one] for one in tokens], prompts=prompts)
        engine.submit(request)
        codes = request.wait()
    finally:
        engine.stop()
    assert request.fraction == 1
    assert batch.free_pages == free
    return codes


@pytest.mark.parametrize("samples", [640, 12_345, 50 * 640])
def test_greedy_codes_after_audio_equal_transformers_with_texts(
    samples: int, listening: Reference, codec: Codec
) -> None:
    audio, new = music(codec.channels, samples), 20
    given = -(-samples // 640)
    expected = listening.greedy(given + new, 3, audio=torch.from_numpy(audio).expand(2, -1, -1), given=given)
    params = SamplingParams(max_new_tokens=new + 3, do_sample=False, guidance_scale=3)
    clips = [ClipSpec(text, 0, params, prompt=audio) for text in ("a", "b")]
    tokens = [listening.ids[index, : int(listening.mask[index].sum())].tolist() for index in range(2)]
    prompt = codec.encode(torch.from_numpy(audio))
    codes = generated(listening, clips, tokens, [prompt, prompt])
    assert expected.shape[2] == given + new and len(expected[:, :, given:].unique()) >= 20
    for got, wanted in zip(codes, expected, strict=True):
        assert torch.equal(got, wanted)
    assert not torch.equal(codes[0], codes[1])


def test_greedy_codes_after_audio_equal_transformers_without_a_text(listening: Reference, codec: Codec) -> None:
    audio, new = music(codec.channels, 30 * 640), 20
    expected = listening.unconditional(30 + new, audio=torch.from_numpy(audio)[None], given=30)
    alone = listening.unconditional(30 + new)
    clip = ClipSpec(None, 0, SamplingParams(max_new_tokens=new + 3, do_sample=False), prompt=audio)
    (codes,) = generated(listening, [clip], [[]], [codec.encode(torch.from_numpy(audio))])
    assert torch.equal(codes, expected) and not torch.equal(codes, alone)


def test_a_clip_gets_pages_for_what_it_continues_too(mono: Reference) -> None:
    params, prompt = SamplingParams(max_new_tokens=8), torch.zeros((4, 60), dtype=torch.int64)
    clip = ClipSpec(None, 0, params)
    batch = Batch(mono.runner(slots=2, pages=3), length_multiple=32)  # two beside the null page
    longer = Sequence(Request([clip], [[[]]], prompts=[prompt]), 0)
    fits = batch.page_budget()
    assert (longer.window.frames, fits(longer), fits(Sequence(Request([clip], [[[]]]), 0))) == (65, True, False)
    batch.admit(longer, None)
    assert (longer.position, longer.end, batch.free_pages) == (60, 68, 0)


# ---- the generator


@pytest.fixture(scope="module")
def generators(staged_musicgen: Path, staged_stereo: Path, one_thread: None) -> Iterator[dict[int, Generator]]:
    loaded = {
        channels: Generator(folder, weight_format=WeightFormat(), capacity=Capacity(), log=MemoryLog().log)
        for channels, folder in ((1, staged_musicgen), (2, staged_stereo))
    }
    yield loaded
    for one in loaded.values():
        one.close()


@pytest.mark.parametrize("channels", [1, 2])
def test_a_clip_starts_with_its_excerpt_or_is_what_follows_it(channels: int, generators: dict[int, Generator]) -> None:
    generator, audio = generators[channels], music(channels, 10 * 640 - 7)
    params = SamplingParams(max_new_tokens=15 + 3, do_sample=False)
    whole, rest = (
        generator.generate([ClipSpec("a", 0, params, prompt=audio, return_prompt=one)]) for one in (True, False)
    )
    codes = generator.codec_worker.codec.encode(torch.from_numpy(audio))
    assert whole.codes[0].shape == (4 * channels, 25) and whole.clips[0].shape == (channels, 25 * 640)
    np.testing.assert_array_equal(whole.codes[0][:, :10], codes)
    np.testing.assert_array_equal(rest.codes[0], whole.codes[0][:, 10:])
    np.testing.assert_array_equal(rest.clips[0], whole.clips[0][:, 6400:])


def test_clips_of_one_request_share_one_encoding(
    generators: dict[int, Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, audio, threads = generators[1], music(1, 6400), list[str]()
    encode = generator.codec_worker.codec.encode

    def noting(samples: torch.Tensor) -> torch.Tensor:
        threads.append(threading.current_thread().name)
        return encode(samples)

    monkeypatch.setattr(generator.codec_worker.codec, "encode", noting)
    params = SamplingParams(max_new_tokens=8)
    clips = [ClipSpec("a", seed, params, prompt=audio) for seed in range(3)]
    other = ClipSpec("a", 1, params, prompt=music(1, 6400, seed=1))
    result = generator.generate([*clips, other, ClipSpec("a", 1, params)])
    assert len(threads) == 2 and all(name.startswith("codec") for name in threads)
    assert [codes.shape[1] for codes in result.codes] == [15, 15, 15, 15, 5]


def test_a_continuation_that_is_too_long_for_the_decoder_goes_on_from_its_end(
    listening: Reference, codec: Codec
) -> None:
    """From the last 12 s, as every later window of a long clip does."""
    prompt = codec.encode(torch.from_numpy(music(codec.channels, 1490 * 640)))
    clip = ClipSpec(None, 0, SamplingParams(max_new_tokens=30 + 3, do_sample=False))
    (whole,) = generated(listening, [clip], [[]], [prompt], positions=700)
    (end,) = generated(listening, [clip], [[]], [prompt[:, -600:]], positions=700)
    assert torch.equal(whole[:, :1490], prompt) and torch.equal(whole[:, -630:], end)


def test_the_longest_continuation_is_generated(generators: dict[int, Generator]) -> None:
    generator = generators[1]
    audio = music(1, 1490 * 640)
    (codes,) = generator.generate([ClipSpec("a", 0, SamplingParams(max_new_tokens=13), prompt=audio)]).codes
    assert codes.shape == (4, 1500)


def test_audio_with_another_number_of_channels_fails_its_request_alone(generators: dict[int, Generator]) -> None:
    generator = generators[2]
    params = SamplingParams(max_new_tokens=4)
    with pytest.raises(ValueError, match=r"samples must be \[2, at least 1\], got \[1, 640\]"):
        generator.generate([ClipSpec("a", 0, params, prompt=music(1, 640))])
    assert generator.healthy and generator.generate([ClipSpec("a", 0, params)]).clips[0].shape == (2, 640)


def test_the_watchdog_hears_of_every_five_seconds_of_a_long_clip(
    generators: dict[int, Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clip of 300 s takes EnCodec about 100 s on one thread: without, the endpoint would be taken for hung."""
    worker, beats = generators[1].codec_worker, list[int]()
    beat = worker.heartbeat.renew
    monkeypatch.setattr(worker.codec, "on_chunk", lambda: (beats.append(1), beat()))
    request = Request([ClipSpec(None, 0, SamplingParams(max_new_tokens=1003))], [[]])
    worker.decode(worker.begin(request, 0), ClipPart(0, torch.zeros((4, 1000), dtype=torch.int64), last=True))
    assert len(beats) == 4 and worker.heartbeat.age == 0


def test_the_codec_beats_the_watchdogs_heart(generators: dict[int, Generator]) -> None:
    for generator in generators.values():
        assert generator.codec_worker.codec.on_chunk == generator.codec_worker.heartbeat.renew


def test_a_codec_that_another_thread_uses_is_not_taken_for_hung(generators: dict[int, Generator]) -> None:
    """A heart that beats at rest would never rest again, and the watchdog would end the process."""
    worker = generators[1].codec_worker
    worker.codec.decode(torch.zeros((4, 300), dtype=torch.int64))
    time.sleep(0.01)
    assert worker.heartbeat.age == 0
