"""Codes to samples: the checkpoint's EnCodec decoder (Défossez et al. 2022), in float32."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# transformers ships types that strict mode cannot follow.

import math

import torch
from torch.nn.utils import parametrize
from transformers import EncodecModel, MusicgenConfig

from musicgen_serving.engine.chunked_codec import ChunkedDecoder
from musicgen_serving.engine.weight_files import WeightFiles, require_all

PREFIX = "audio_encoder."
# Weight normalisation's two tensors, as checkpoints of before and after torch 2.0 call them.
_RENAMED = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}


def _renamed(name: str) -> str:
    name = name.removeprefix(PREFIX)
    for old, new in _RENAMED.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def make_convolutions_repeatable() -> None:
    """Have cuDNN compute in float32 and by the same algorithm each time; by default it does neither.

    TF32 rounds factors to 10 bits, which is coarser than a 16-bit WAV; and one seed is to give one clip.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


class Codec:
    """EnCodec, loaded once; only what decodes is kept on the device."""

    def __init__(self, config: MusicgenConfig, files: WeightFiles, channels: int, device: torch.device) -> None:
        self.sampling_rate = int(config.audio_encoder.sampling_rate)
        self._channels = channels
        model = EncodecModel(config.audio_encoder).eval()
        state = {_renamed(name): files.read(name) for name in files.names(PREFIX)}
        require_all(PREFIX, model.load_state_dict(state, strict=False).missing_keys)
        if device.type == "cuda":
            make_convolutions_repeatable()
        self._quantizer = model.quantizer.to(device)
        decoder = model.decoder.to(device)
        for module in decoder.modules():  # else every call would compute the normalised weights anew
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")
        self._decoder = ChunkedDecoder(list(decoder.layers), math.prod(config.audio_encoder.upsampling_ratios))

    @torch.inference_mode()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Samples [channels, 640 * T] of codes [K, T]; stereo codes interleave left and right."""
        sides = [codes[side :: self._channels] for side in range(self._channels)]
        stacked = torch.stack(sides, dim=1)  # [4, channels, T]
        return self._decoder(self._quantizer.decode(stacked))[:, 0]
