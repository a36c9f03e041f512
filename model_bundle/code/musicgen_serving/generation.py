"""Text to samples with `transformers`: one clip after another, each from its own seed."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# transformers ships types that strict mode cannot follow.

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer, MusicgenForConditionalGeneration

from musicgen_serving.errors import InvalidRequestError
from musicgen_serving.parameters import GenerationParams

MAX_TEXT_TOKENS = 512
WARM_UP = GenerationParams(max_new_tokens=8)


@dataclass(frozen=True)
class Clip:
    """One clip to make."""

    text: str
    seed: int
    params: GenerationParams


class Generator:
    """The model on its device, made once; `generate` may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        # eager: scaled-dot-product attention gave NaN for the fully masked rows of guidance in some versions
        model = MusicgenForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, attn_implementation="eager"
        )
        self._model = model.to(self._device).eval()
        self._lock = threading.Lock()
        self.sampling_rate = int(model.config.audio_encoder.sampling_rate)
        self.generate([Clip("warm up", 0, WARM_UP)])

    def generate(self, clips: list[Clip]) -> list[NDArray[np.float32]]:
        """Samples [channels, samples] of each clip; InvalidRequestError for a text of too many tokens."""
        inputs = [self._tokenize(index, clip.text) for index, clip in enumerate(clips)]
        with self._lock:
            return [self._one(clip, ids) for clip, ids in zip(clips, inputs, strict=True)]

    def _tokenize(self, index: int, text: str) -> torch.Tensor:
        ids = self._tokenizer(text, return_tensors="pt").input_ids  # [1, tokens]
        if ids.shape[1] > MAX_TEXT_TOKENS:
            raise InvalidRequestError(f"texts[{index}] must be at most {MAX_TEXT_TOKENS} tokens, got {ids.shape[1]}")
        return ids.to(self._device)

    @torch.inference_mode()
    def _one(self, clip: Clip, ids: torch.Tensor) -> NDArray[np.float32]:
        params = clip.params
        torch.manual_seed(clip.seed)
        sampling = {"temperature": params.temperature, "top_k": params.top_k, "top_p": params.top_p}
        audio = self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=params.max_new_tokens,
            guidance_scale=params.guidance_scale,
            do_sample=params.do_sample,
            **(sampling if params.do_sample else {}),
        )  # [1, channels, samples]
        return audio[0].float().cpu().numpy()
