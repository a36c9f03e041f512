"""Texts to states: the checkpoint's tokenizer and its T5 encoder, in float32."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportArgumentType=false
# transformers ships types that strict mode cannot follow.

from pathlib import Path

import torch
from transformers import AutoTokenizer, MusicgenConfig, T5EncoderModel

from musicgen_serving.engine.model.weights import WeightFiles, require_all

PREFIX = "text_encoder."
TIED = ("shared.weight", "encoder.embed_tokens.weight")  # one tensor, under either name in a checkpoint


class TextEncoder:
    """Tokenizer and encoder, loaded once."""

    def __init__(self, folder: Path, config: MusicgenConfig, files: WeightFiles, device: torch.device) -> None:
        self._device = device
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            model = T5EncoderModel(config.text_encoder)
        state = {
            name.removeprefix(PREFIX): files.read_stacked([name], device, torch.float32)
            for name in files.names(PREFIX)
            if not name.startswith(f"{PREFIX}decoder.")
        }
        embeddings = next((state[name] for name in TIED if name in state), None)
        state |= {name: embeddings for name in TIED if embeddings is not None}
        require_all(PREFIX, model.load_state_dict(state, strict=False, assign=True).missing_keys)
        self._model = model.eval()

    def tokenize(self, text: str) -> list[int]:
        """Return a text's tokens, including the end token."""
        return self._tokenizer(text).input_ids

    @torch.inference_mode()
    def encode(self, texts: list[list[int]]) -> list[torch.Tensor]:
        """Return states [tokens, width] of each text, on a GPU all in one pass.

        On a CPU each text has its own pass: that reads little more, and in a shared pass rounding, and so a clip's
        sound, would depend on the other texts.
        """
        if self._device.type == "cpu" and len(texts) > 1:
            return [state for text in texts for state in self.encode([text])]
        return self._encode_batch(texts)

    def _encode_batch(self, texts: list[list[int]]) -> list[torch.Tensor]:
        """Encode texts in one pass, without waiting for the device.

        The mask is what T5 adds to its scores. Given one of ones and zeros, transformers would first ask the device
        whether it has a zero (masking_utils._ignore_bidirectional_mask_sdpa in 5.5.3).
        """
        longest = max(len(tokens) for tokens in texts)
        ids = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens in texts])  # [B, longest]
        lengths = torch.tensor([len(tokens) for tokens in texts])
        padding = torch.arange(longest) >= lengths[:, None]
        mask = padding * torch.finfo(torch.float32).min  # [B, longest]
        states = self._model(self._to_device(ids), self._to_device(mask[:, None, None])).last_hidden_state
        return [row[: len(tokens)] for row, tokens in zip(states, texts, strict=True)]

    def _to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a tensor to the device from pinned memory, or the host would wait for the device."""
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)
