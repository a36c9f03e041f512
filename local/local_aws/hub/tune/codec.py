"""The toy model's EnCodec, constructed instead of trained: codes name tones, and the decoder sums their sines.

The quantizer's entries are amplitudes, one dimension a tone. The decoder's first upsampling turns each amplitude into a
cosine and a sine at 400 Hz, cross-fading between frames; the second turns those into 16 samples in 16 channels, and the
last two lay these out in time. ELU is the identity for positive values only, so biases lift every channel above zero;
each layer's last channel carries the lift alone, and the next layer subtracts it. LSTM and residual blocks add zero.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportOptionalMemberAccess=false
# transformers ships types that strict mode cannot follow.

import math
from collections.abc import Sequence

import torch
from torch import nn
from transformers import EncodecModel

from local_aws.hub.tune.music import SAMPLING_RATE

RATIOS = (8, 5, 4, 4)  # of the upsampling layers: 50 Hz to 32 kHz
LIFTS = (0.0, 0.5, 1.0, 1.0, 1.0, 0.0)  # of the convolutions: one, four that upsample, one
_COARSE_RATE = 400  # Hz, after the first upsampling
_COARSE_PERIOD = SAMPLING_RATE // _COARSE_RATE  # samples


@torch.no_grad()
def construct_codec(codec: EncodecModel, tones: Sequence[int], codebooks: Sequence[Sequence[dict[int, float]]]) -> None:
    """Write the quantizer's entries and the decoder's filters; zero the encoder, which generation does not use.

    `tones` are in Hz, multiples of 50; `codebooks` have the amplitude of each tone in each code.
    """
    for layer, entries in zip(codec.quantizer.layers, codebooks, strict=True):
        layer.codebook.embed.zero_()
        layer.codebook.embed_avg.zero_()
        for code, entry in enumerate(entries):
            for tone, amplitude in entry.items():
                layer.codebook.embed[code, tones.index(tone)] = amplitude
    convolutions = [module.conv for module in codec.decoder.layers if hasattr(module, "conv")]
    shapes = [conv.weight.shape for conv in convolutions]
    made = dict(zip(convolutions, zip(_filters(tones, shapes), LIFTS, strict=True), strict=True))
    for module in codec.modules():
        if isinstance(module, nn.LSTM):
            for parameter in module.parameters():
                parameter.zero_()
        elif isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            weight, lift = made.get(module, (torch.zeros_like(module.weight), 0.0))
            _set_weight(module, weight)
            module.bias.fill_(lift)


def _filters(tones: Sequence[int], shapes: list[torch.Size]) -> list[torch.Tensor]:
    """Return the convolutions' weights: [out, in, kernel] for the outer two, [in, out, kernel] for those that upsample.

    The numbers added to an index centre a kernel on its frame.
    """
    first, cosines, samples, sixteen, four, last = weights = [torch.zeros(shape) for shape in shapes]
    tone = torch.arange(len(tones))
    radians = 2 * math.pi * torch.tensor(tones)
    first[tone, tone, 3] = 1.0
    step = torch.arange(16)
    fade, angle = 1 - (step - 7.5).abs() / 8, radians[:, None] * (step - 4) / _COARSE_RATE
    cosines[tone, 2 * tone], cosines[tone, 2 * tone + 1] = fade * angle.cos(), fade * angle.sin()
    # Of the 80 samples in a coarse step, channel c holds every sixteenth from c on, in five steps of 2 kHz.
    angle = radians[:, None, None] * torch.arange(_COARSE_PERIOD).reshape(5, 16).T / SAMPLING_RATE
    samples[2 * tone, :16, 3:8], samples[2 * tone + 1, :16, 3:8] = angle.sin(), angle.cos()
    sixteen[step, step % 4, 2 + step // 4] = 1.0
    four[torch.arange(4), 0, 2 + torch.arange(4)] = 1.0
    last[0, 0, 3], last[0, -1, 3] = 1.0, -1.0
    for weight in (samples, sixteen, four):
        weight[-1] = -weight[:-1].sum(0)
    return weights


def _set_weight(conv: nn.Module, weight: torch.Tensor) -> None:
    """Set a weight through its normalisation; a zero row has length 0 and any direction."""
    length = weight.flatten(1).norm(dim=1).reshape(-1, 1, 1)
    conv.parametrizations.weight.original0.copy_(length)
    conv.parametrizations.weight.original1.copy_(torch.where(length > 0, weight, torch.ones_like(weight)))
