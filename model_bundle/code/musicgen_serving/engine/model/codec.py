"""The checkpoint's EnCodec (Défossez et al. 2022) in float32: codes to samples, a chunk at a time, and back.

Chunks are decoded while a clip's codes are still being generated. What they sound like does not depend on when.
"""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# transformers ships types that strict mode cannot follow.

import math
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import EncodecModel, MusicgenConfig, MusicgenMelodyConfig

from musicgen_serving.engine.model.weights import WeightFiles, require_all

PREFIX = "audio_encoder."
# Weight normalisation's two tensors, as named before and after torch 2.0.
_RENAMED = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}
CHUNK = 250  # frames: 5 s
# How far convolutions reach, in frames: before the LSTM one of kernel 7, 3 to either side, or 6 back if causal; after
# it the first transposed one, 0.75 to either side, or 1.5 back, and those that follow little more.
BEFORE_LSTM = 6
AFTER_LSTM = 2
LOOKAHEAD = BEFORE_LSTM + AFTER_LSTM  # frames that must follow a chunk, if any do, before it is decoded


def _renamed(name: str) -> str:
    name = name.removeprefix(PREFIX)
    for old, new in _RENAMED.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def make_convolutions_repeatable() -> None:
    """Make cuDNN compute in float32 and with the same algorithm each time; by default it does neither.

    TF32 rounds factors to 10 bits, which is coarser than a 16-bit WAV, and one seed must give one clip.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


class Codec:
    """EnCodec, loaded once; `hop` is the samples of a frame."""

    def __init__(
        self, config: MusicgenConfig | MusicgenMelodyConfig, files: WeightFiles, channels: int, device: torch.device
    ) -> None:
        self.sampling_rate = int(config.audio_encoder.sampling_rate)
        self.channels = channels
        self.hop = math.prod(config.audio_encoder.upsampling_ratios)
        for name, value in (("normalize", False), ("chunk_length_s", None)):  # they would add a scale, and overlaps
            if getattr(config.audio_encoder, name) != value:
                got = getattr(config.audio_encoder, name)
                raise ValueError(f"config.json's audio_encoder.{name} must be {value!r}, got {got!r}")
        model = EncodecModel(config.audio_encoder).eval()
        state = {_renamed(name): files.read(name) for name in files.names(PREFIX)}
        require_all(PREFIX, model.load_state_dict(state, strict=False).missing_keys)
        if device.type == "cuda":
            make_convolutions_repeatable()
        self._quantizer = model.quantizer.to(device)
        self._bandwidth = config.audio_encoder.target_bandwidths[0]
        self._encoder, decoder = model.encoder.to(device), model.decoder.to(device)
        for module in (
            *self._encoder.modules(),
            *decoder.modules(),
        ):  # or every call would compute the normalised weights again
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")
        self._decoder = ChunkedDecoder(list(decoder.layers), self.hop)
        self.on_chunk: Callable[[], None] = lambda: None  # called for every 5 s: of a long clip that takes minutes

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Return samples [channels, 640 * T] of codes [K, T]; stereo codes interleave left and right."""
        return torch.cat(list(self.decode_part(self.begin(), codes, last=True)), dim=-1)

    def begin(self) -> "ChunkedDecode":
        """Return a clip's decode, to which its codes are given in parts."""
        return ChunkedDecode(self._decoder)

    @torch.inference_mode()
    def decode_part(self, decode: "ChunkedDecode", codes: torch.Tensor, *, last: bool) -> Iterator[torch.Tensor]:
        """Yield samples [channels, n] of every chunk that is complete with the clip's next codes [K, T].

        The samples do not depend on how the codes are divided, and are 640 * T in all once the last codes are given.
        """
        sides = [codes[side :: self.channels] for side in range(self.channels)]
        stacked = torch.stack(sides, dim=1)  # [4, channels, T]
        for samples in decode.add(self._quantizer.decode(stacked), last=last):
            self.on_chunk()
            yield samples[:, 0]

    @torch.inference_mode()
    def encode(self, samples: torch.Tensor) -> torch.Tensor:
        """Return codes [K, ceil(n / hop)] of samples [channels, n]; a stereo model's sides are encoded one by one.

        Not in chunks: another order of summation could choose other codes than transformers. The activations of 25 s
        take 0.85 GiB at the published size.
        """
        if samples.shape[0] != self.channels or not samples.shape[1]:
            raise ValueError(f"samples must be [{self.channels}, at least 1], got {list(samples.shape)}")
        sides = [self._quantizer.encode(self._encoder(side[None, None]), self._bandwidth)[:, 0] for side in samples]
        return torch.stack(sides, dim=1).flatten(0, 1)  # [4, channels, T]: left and right alternate


class ChunkedDecoder:
    """EnCodec's decoder layers (convolution, LSTM, upsampling) applied in chunks, to bound the memory of activations.

    The LSTM runs forwards only, so its state is carried from chunk to chunk. Convolutions see a few frames on either
    side of a chunk, which are cut from their output; a clip's two ends are padded as in a decode of the whole. For 30 s
    at the published size it takes 0.2 to 0.3 GiB instead of 1.1, and 7.0 s instead of 8.5 on one thread of a Xeon.
    """

    def __init__(self, layers: Sequence[nn.Module], samples_per_frame: int) -> None:
        self.before, lstm, *after = layers
        self.lstm = cast(nn.LSTM, lstm.lstm)
        self.after = nn.Sequential(*after)
        self.samples_per_frame = samples_per_frame

    def __call__(self, frames: torch.Tensor, chunk: int = CHUNK) -> torch.Tensor:
        """Return samples [B, C, samples per frame * T] of frames [B, D, T]; `chunk` is in frames."""
        return torch.cat(list(ChunkedDecode(self, chunk).add(frames, last=True)), dim=-1)


class ChunkedDecode:
    """One clip on its way through the layers: its frames so far, and what the next chunk needs of those before it."""

    def __init__(self, decoder: ChunkedDecoder, chunk: int = CHUNK) -> None:
        self._decoder = decoder
        self._chunk = chunk
        self._frames = torch.empty(0)  # [B, D, frames so far]
        self._start = 0  # of the next chunk
        self._hidden = torch.empty(0)  # [B, H, n]: the LSTM's output from AFTER_LSTM frames before the next chunk on
        self._state: tuple[torch.Tensor, torch.Tensor] | None = None  # of the LSTM

    def add(self, frames: torch.Tensor, *, last: bool) -> Iterator[torch.Tensor]:
        """Take the clip's next frames [B, D, T]; yield samples [B, C, n] of each chunk that no later frame changes."""
        self._frames = torch.cat([self._frames, frames], dim=-1) if len(self._frames) else frames
        total = self._frames.shape[-1]
        while self._start < total if last else self._start + self._chunk + LOOKAHEAD <= total:
            yield self._decode_chunk(self._start, min(self._start + self._chunk, total), total)

    def _decode_chunk(self, start: int, stop: int, total: int) -> torch.Tensor:
        decoder, first = self._decoder, max(start - AFTER_LSTM, 0)
        known = 0 if self._state is None else min(start + AFTER_LSTM, total)
        ahead = min(stop + AFTER_LSTM, total)
        if ahead > known:
            x = self._convolve(known, ahead)
            out, self._state = decoder.lstm(x.permute(2, 0, 1), self._state)
            more = out.permute(1, 2, 0) + x
            self._hidden = torch.cat([self._hidden, more], dim=-1) if known else more
        samples = decoder.after(self._hidden)
        self._hidden = self._hidden[..., max(stop - AFTER_LSTM, 0) - first :]
        self._start = stop
        return samples[..., (start - first) * decoder.samples_per_frame : (stop - first) * decoder.samples_per_frame]

    def _convolve(self, start: int, stop: int) -> torch.Tensor:
        """Return the LSTM's input [B, H, stop - start]."""
        first = max(start - BEFORE_LSTM, 0)
        frames = self._frames[..., first : stop + BEFORE_LSTM]
        return self._decoder.before(frames)[..., start - first : stop - first]
