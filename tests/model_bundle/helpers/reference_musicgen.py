"""A small MusicGen in transformers, the codes that its generate returns, and the engine with the same weights."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportOptionalMemberAccess=false
# pyright: reportUnknownLambdaType=false, reportGeneralTypeIssues=false
# transformers ships types that strict mode cannot follow.

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    EncodecConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    T5Config,
)

from musicgen_serving.engine.model.config import decoder_config, read_config
from musicgen_serving.engine.model.cpu_matrices import PACKINGS
from musicgen_serving.engine.model.quantisation import Packing
from musicgen_serving.engine.model.weights import WeightFiles, load_decoder
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.slots import allocate

CPU = torch.device("cpu")
VOCABULARY = 128
POSITIONS, TEXT = 128, 16


@dataclass(frozen=True)
class Reference:
    """A checkpoint, and two encoded texts of different lengths."""

    model: Any
    folder: Path
    ids: torch.Tensor  # [2, 11], the second padded after 5 tokens
    mask: torch.Tensor

    @property
    def codebooks(self) -> int:
        return self.model.decoder.config.num_codebooks

    @torch.inference_mode()
    def states(self, text: int) -> torch.Tensor:
        """Return a text's states [tokens, width], encoded in one batch with the other text."""
        states = self.model.text_encoder(input_ids=self.ids, attention_mask=self.mask).last_hidden_state
        return states[text, : int(self.mask[text].sum())]

    def greedy(self, frames: int, guidance: float, prompt: torch.Tensor | None) -> torch.Tensor:
        """Return the codes [2, K, frames] of transformers' greedy generate, including the prompts [2, K, n]."""
        given = 0 if prompt is None else prompt.shape[-1]
        decoded: list[torch.Tensor] = []
        decode = self.model.audio_encoder.decode
        self.model.audio_encoder.decode = lambda codes, **rest: decoded.append(codes) or decode(codes, **rest)
        try:
            self.model.generate(
                input_ids=self.ids, attention_mask=self.mask, do_sample=False, guidance_scale=guidance,
                max_new_tokens=frames - given + 3,
                **({} if prompt is None else {"decoder_input_ids": prompt.flatten(0, 1)}),
            )  # fmt: skip
        finally:
            self.model.audio_encoder.decode = decode
        sides = [codes[0] for codes in decoded]  # [2, 4, frames] for each channel
        return torch.stack(sides, dim=2).flatten(1, 2)

    def runner(self, slots: int = 3, pages: int | None = None, packing: Packing = PACKINGS["float32"]) -> ModelRunner:
        """Return the engine's model runner with the same weights, read from the files that transformers wrote.

        `pages` limits the KV pages, of which the null page is one.
        """
        config = decoder_config(read_config(self.folder))
        with WeightFiles(self.folder) as files:
            weights = load_decoder(files, config, CPU, torch.float32, POSITIONS, packing)
        return ModelRunner(config, weights, allocate(config, slots, POSITIONS, TEXT, CPU, torch.float32, pages))


def make_reference(folder: Path, channels: int) -> Reference:
    """Write a checkpoint of 4 layers; its matrices have a large variance, so that greedy codes vary."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MusicgenForConditionalGeneration(_config(channels)).eval()
        with torch.no_grad():
            for parameter in model.decoder.parameters():
                if parameter.dim() == 2:
                    parameter.copy_(torch.randn_like(parameter).mul_(0.25).half())  # as published: exact in 16 bits
            for layer in model.audio_encoder.quantizer.layers:
                layer.codebook.embed.normal_()
        ids = torch.randint(3, 200, (2, 11))
    settings = model.generation_config
    settings.bos_token_id = settings.pad_token_id = settings.decoder_start_token_id = VOCABULARY
    settings.max_length = POSITIONS
    model.save_pretrained(folder)
    mask = torch.ones_like(ids)
    ids[1, 5:], mask[1, 5:] = 0, 0
    eager = MusicgenForConditionalGeneration.from_pretrained(folder, attn_implementation="eager")
    return Reference(eager.eval(), folder, ids, mask)


def _config(channels: int) -> MusicgenConfig:
    text = T5Config(vocab_size=200, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    audio = EncodecConfig(
        target_bandwidths=[1.4], sampling_rate=32000, audio_channels=1, normalize=False, hidden_size=16,
        num_filters=4, num_residual_layers=1, upsampling_ratios=[8, 5, 4, 4], codebook_size=VOCABULARY,
        codebook_dim=16, use_causal_conv=False, num_lstm_layers=2, norm_type="weight_norm", use_conv_shortcut=False,
    )  # fmt: skip
    decoder = MusicgenDecoderConfig(
        vocab_size=VOCABULARY, num_hidden_layers=4, ffn_dim=256, num_attention_heads=4, hidden_size=64,
        num_codebooks=4 * channels, audio_channels=channels, tie_word_embeddings=False,
        pad_token_id=VOCABULARY, bos_token_id=VOCABULARY, eos_token_id=None,
    )  # fmt: skip
    return MusicgenConfig(text_encoder=text, audio_encoder=audio, decoder=decoder)
