"""MusicGen in plain transformers, for comparison: as the AWS sample calls it, kept warm, in float16 and compiled."""
# pyright: reportUnknownMemberType=false
# pyright: reportArgumentType=false
# transformers ships types that strict mode cannot follow.

import gc
import statistics
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch._dynamo.config as dynamo
from transformers import (
    AutoProcessor,
    DynamicCache,
    EncoderDecoderCache,
    MusicgenForConditionalGeneration,
    StaticCache,
)

from benchmarks.gpu.device import seconds

TEXT = "80s pop track with bassy drums and synth"
METHODS = ("sample", "float16", "static_compiled")


class Stock:
    """transformers' model, by default in float32 as in the sample; with `decode`, EnCodec decodes the codes."""

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
        """Return further arguments of generate."""
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


class StaticCompiled(Stock):
    """generate over a static self-attention cache with a compiled decoder; endless recompilation is an error."""

    def __init__(self, folder: Path, device: torch.device, steps: int) -> None:
        super().__init__(folder, device, torch.float16)
        self._max_length = steps + 8
        limit = "fail_on_recompile_limit_hit"
        setattr(dynamo, limit if hasattr(dynamo, limit) else "fail_on_cache_limit_hit", True)  # torch 2.6's name
        compiled = torch.compile(self.model.decoder.forward, dynamic=False)

        def forward(input_ids: torch.Tensor, **rest: Any) -> Any:
            return compiled(input_ids=input_ids.clone(), **rest)  # slices of a longer tensor would recompile

        self.model.decoder.forward = forward

    def options(self) -> dict[str, Any]:
        config = self.model.decoder.config
        static = StaticCache(config, max_cache_len=self._max_length)
        return {"past_key_values": EncoderDecoderCache(static, DynamicCache(config=config))}


def measure(
    method: str, folder: Path, device: torch.device, *, steps: int, clip_steps: int, rounds: int,
    before_each: Callable[[], None],
) -> dict[str, Any]:  # fmt: skip
    """Measure clips of `steps` steps, scaled to `clip_steps`, calling `before_each` before every one.

    Returns the median, or `failed` with the error. The model is freed afterwards.
    """
    stock, times = None, list[float]()
    free_unused_memory()
    try:
        if method == "static_compiled":
            stock = StaticCompiled(folder, device, steps)
        else:
            stock = Stock(folder, device, torch.float32 if method == "sample" else torch.float16, decode=True)
        generate = stock.as_the_sample if method == "sample" else stock.warm
        generate(TEXT, steps)  # warms up
        for _ in range(rounds):
            before_each()
            times.append(seconds(lambda: generate(TEXT, steps), device))
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"[:500]}
    finally:
        if stock is not None:
            del stock.model
        free_unused_memory()
    scale, median = clip_steps / steps, statistics.median(times)
    return {"steps": steps, "seconds": median, "scaled_by": scale, "clip_seconds": median * scale}


def free_unused_memory() -> None:
    """Free unused memory, including reference cycles of recorded graphs."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
