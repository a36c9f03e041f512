"""The ways to serve MusicGen without this engine: transformers' generate kept warm, and as the AWS sample calls it."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
# transformers ships types that strict mode cannot follow.

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoProcessor, MusicgenForConditionalGeneration


class Stock:
    """transformers' model in float32, the sample's type; its codec is left out, as it is from what is measured here."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._folder = folder
        self._device = device
        self._model = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).to(device).eval()
        self._processor: Any = AutoProcessor.from_pretrained(folder)
        self._model.audio_encoder.decode = self._no_audio

    def _no_audio(self, codes: torch.Tensor, **rest: object) -> SimpleNamespace:
        del rest
        return SimpleNamespace(audio_values=torch.zeros(codes.shape[1], 1, 1))

    def warm(self, text: str, steps: int) -> None:
        """Generate one clip with everything loaded."""
        inputs = self._processor(text=[text], padding=True, return_tensors="pt").to(self._device)
        self._model.generate(**inputs, do_sample=True, guidance_scale=3, top_k=250, max_new_tokens=steps)
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def as_the_sample(self, text: str, steps: int) -> None:
        """Generate one clip as the sample's handler does: the processor is loaded anew for each request."""
        self._processor = AutoProcessor.from_pretrained(self._folder)
        self.warm(text, steps)
