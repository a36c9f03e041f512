"""MusicGen without this engine: transformers' generate kept warm, and as the AWS sample calls it."""
# pyright: reportUnknownMemberType=false
# pyright: reportArgumentType=false
# transformers ships types that strict mode cannot follow.

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoProcessor, MusicgenForConditionalGeneration


class Stock:
    """transformers' model, in float32 as in the sample; with `decode`, EnCodec decodes the codes."""

    def __init__(
        self, folder: Path, device: torch.device, dtype: torch.dtype = torch.float32, *, decode: bool = False
    ) -> None:
        self._folder = folder
        self._device = device
        self.model: Any = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=dtype).to(device).eval()
        self._processor: Any = AutoProcessor.from_pretrained(folder)
        if not decode:
            self.model.audio_encoder.decode = self._no_audio

    def _no_audio(self, codes: torch.Tensor, **rest: object) -> SimpleNamespace:
        del rest
        return SimpleNamespace(audio_values=torch.zeros(codes.shape[1], 1, 1))

    def options(self) -> dict[str, Any]:
        """Return generate's further arguments."""
        return {}

    def warm(self, text: str, steps: int) -> None:
        """Generate one clip with everything loaded."""
        inputs = self._processor(text=[text], padding=True, return_tensors="pt").to(self._device)
        self.model.generate(
            **inputs, **self.options(), do_sample=True, guidance_scale=3, top_k=250, max_new_tokens=steps
        )
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def as_the_sample(self, text: str, steps: int) -> None:
        """Generate one clip as the sample's handler does: loading the processor for each request."""
        self._processor = AutoProcessor.from_pretrained(self._folder)
        self.warm(text, steps)
