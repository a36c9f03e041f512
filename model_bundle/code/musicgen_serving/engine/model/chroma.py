"""A melody as chroma: which of twelve pitch classes is strongest, about eight times a second.

As MusicgenMelodyFeatureExtractor of transformers computes it from a waveform; that class needs torchaudio, which the
container does not have. The filter bank is librosa's (`librosa.filters.chroma`), which transformers carries.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers ships types that strict mode cannot follow.

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers.audio_utils import chroma_filter_bank

from musicgen_serving.engine.model.config import DecoderConfig

WINDOW = 16384  # samples of a frame: half a second, for the resolution of low notes
HOP = 4096  # from one frame to the next: 128 ms, of which 30 s are 235
MAX_SECONDS = 30  # of a reference


class Chroma:
    """The features of a melody model's `chroma_frames` frames, of samples at the model's rate."""

    def __init__(self, config: DecoderConfig, sampling_rate: int) -> None:
        self._samples = MAX_SECONDS * sampling_rate
        self._frames = config.chroma_frames
        bank = chroma_filter_bank(num_frequency_bins=WINDOW, num_chroma=config.chroma_bins, sampling_rate=sampling_rate)
        self.filters = torch.from_numpy(bank).float()  # [bins, WINDOW / 2 + 1]
        self._window = torch.hann_window(WINDOW)

    @torch.inference_mode()
    def features(self, samples: NDArray[np.float32], start: int = 0) -> torch.Tensor:
        """Return one-hot chroma [T, bins] of samples [channels, n], at most as many frames as the model reads.

        `start` is the sample that the clip begins with; what comes before it follows the end, as the reference is
        repeated. The model repeats fewer frames. Of silence, all weight is in the first bin: the null chroma.
        """
        mono = torch.from_numpy(samples).mean(0).roll(-start)[: self._samples]
        if (missing := WINDOW - len(mono)) > 0:
            mono = functional.pad(mono, (missing // 2, missing - missing // 2))
        spectrum = torch.stft(mono, WINDOW, HOP, window=self._window, center=True, return_complex=True)
        energy = self.filters @ spectrum.abs().square()  # [bins, T]: its scale is of no consequence to the strongest
        strongest = energy[:, : self._frames].argmax(dim=0)
        return functional.one_hot(strongest, len(self.filters)).float()
