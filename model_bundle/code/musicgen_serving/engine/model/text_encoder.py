"""Texts to states: the checkpoint's tokenizer and its T5 encoder, in float32."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportArgumentType=false
# transformers ships types that strict mode cannot follow.

from pathlib import Path

import torch
from transformers import AutoTokenizer, MusicgenConfig, MusicgenMelodyConfig, T5EncoderModel

from musicgen_serving.engine.model.weights import WeightFiles, require_all

PREFIX = "text_encoder."
TIED = ("shared.weight", "encoder.embed_tokens.weight")  # one tensor, under either name in a checkpoint


class TextEncoder:
    """Tokenizer and encoder, loaded once."""

    def __init__(
        self, folder: Path, config: MusicgenConfig | MusicgenMelodyConfig, files: WeightFiles, device: torch.device
    ) -> None:
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
        """Return states [tokens, width] of each text, without waiting for the device.

        Each text has its own pass: in a shared one rounding, and so a clip's sound, would depend on the other texts.
        """
        return [self._encode_one(tokens) for tokens in texts]

    def _encode_one(self, tokens: list[int]) -> torch.Tensor:
        """Return one text's states.

        The mask is what T5 adds to its scores: nothing. Given one of ones, transformers would first ask the device
        whether it has a zero (masking_utils._ignore_bidirectional_mask_sdpa in 5.5.3).
        """
        ids, mask = torch.tensor([tokens]), torch.zeros(1, 1, 1, len(tokens))
        return self._model(self._to_device(ids), self._to_device(mask)).last_hidden_state[0]

    def _to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a tensor to the device from pinned memory, or the host would wait for the device."""
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)
