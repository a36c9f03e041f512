"""A small MusicGen in transformers, the codes that its generate returns, and the engine with the same weights."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportOptionalMemberAccess=false
# pyright: reportUnknownLambdaType=false, reportGeneralTypeIssues=false
# transformers ships types that strict mode cannot follow.

from dataclasses import dataclass, replace
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
    """A checkpoint, and texts of different lengths: two, of 11 and 5 tokens, unless others are chosen."""

    model: Any
    folder: Path
    ids: torch.Tensor  # [texts, longest], padded
    mask: torch.Tensor

    def with_texts(self, lengths: list[int]) -> "Reference":
        """Return the same checkpoint with random texts of these lengths in tokens."""
        ids = torch.randint(3, 200, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(len(lengths)))
        mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
        return replace(self, ids=ids * mask, mask=mask)

    @property
    def codebooks(self) -> int:
        return self.model.decoder.config.num_codebooks

    @torch.inference_mode()
    def states(self, text: int) -> torch.Tensor:
        """Return a text's states [tokens, width], encoded in one batch with the other texts."""
        states = self.model.text_encoder(input_ids=self.ids, attention_mask=self.mask).last_hidden_state
        return states[text, : int(self.mask[text].sum())]

    def greedy(
        self, frames: int, guidance: float, prompt: torch.Tensor | None = None, *,
        audio: torch.Tensor | None = None, given: int = 0,
    ) -> torch.Tensor:  # fmt: skip
        """Return the codes [texts, K, frames] of transformers' greedy generate, prompts [texts, K, n] first.

        Instead of them, `audio` [texts, channels, samples] may be given, which is encoded as `given` frames.
        """
        given = given if prompt is None else prompt.shape[-1]
        return self._generate(
            input_ids=self.ids, attention_mask=self.mask, guidance_scale=guidance, max_new_tokens=frames - given + 3,
            **({} if prompt is None else {"decoder_input_ids": prompt.flatten(0, 1)}),
            **({} if audio is None else {"input_values": audio}),
        )  # fmt: skip

    def unconditional(self, frames: int, *, audio: torch.Tensor | None = None, given: int = 0) -> torch.Tensor:
        """Return the codes [K, frames] of transformers' greedy generate without a text.

        They start with `audio` [1, channels, samples] if it is given, which is encoded as `given` frames.
        """
        inputs = self.model.get_unconditional_inputs(num_samples=1)
        return self._generate(
            encoder_outputs=inputs.encoder_outputs, attention_mask=inputs.attention_mask,
            guidance_scale=inputs.guidance_scale, max_new_tokens=frames - given + 3,
            **({} if audio is None else {"input_values": audio}),
        )[0]  # fmt: skip

    @torch.inference_mode()
    def guided_by_hand(self, frames: int, guidance: float, text: int, negative: int | None) -> torch.Tensor:
        """Return the codes [K, frames] of greedy decoding with a negative prompt, None for none.

        transformers has no such argument: this feeds its decoder both texts in one batch, without a cache, and applies
        guidance and the delay pattern here.
        """
        decoder, vocabulary = self.model.decoder, self.model.decoder.config.vocab_size
        states = self.model.text_encoder(input_ids=self.ids, attention_mask=self.mask).last_hidden_state
        mask = torch.stack([self.mask[text], self.mask[negative or 0] * (negative is not None)])
        states = self.model.enc_to_dec_proj(states[[text, negative or 0]]) * mask[..., None]
        delays = [codebook // (self.codebooks // 4) for codebook in range(self.codebooks)]
        tokens = torch.full((self.codebooks, frames + 4), vocabulary)  # the pad token
        for position in range(frames + 3):
            fed = tokens[:, : position + 1].repeat(2, 1)  # [2K, position + 1]
            out = decoder(fed, encoder_hidden_states=states, encoder_attention_mask=mask, use_cache=False)
            logits = out.logits[:, -1].view(2, self.codebooks, -1)  # [2, K, V]
            best = (logits[1] + guidance * (logits[0] - logits[1])).argmax(-1)
            for codebook, delay in enumerate(delays):
                if 0 <= position - delay < frames:
                    tokens[codebook, position + 1] = best[codebook]
        return torch.stack([row[1 + delay : 1 + delay + frames] for row, delay in zip(tokens, delays, strict=True)])

    def _generate(self, **inputs: Any) -> torch.Tensor:
        decoded: list[torch.Tensor] = []
        decode = self.model.audio_encoder.decode
        self.model.audio_encoder.decode = lambda codes, **rest: decoded.append(codes) or decode(codes, **rest)
        try:
            self.model.generate(do_sample=False, **inputs)
        finally:
            self.model.audio_encoder.decode = decode
        sides = [codes[0] for codes in decoded]  # [texts, 4, frames] for each channel
        return torch.stack(sides, dim=2).flatten(1, 2)

    def runner(
        self, slots: int = 3, pages: int | None = None, packing: Packing = PACKINGS["float32"],
        positions: int = POSITIONS, text: int = TEXT,
    ) -> ModelRunner:  # fmt: skip
        """Return the engine's model runner with the same weights, read from the files that transformers wrote.

        `pages` limits the KV pages, of which the null page is one.
        """
        config = decoder_config(read_config(self.folder))
        with WeightFiles(self.folder) as files:
            weights = load_decoder(files, config, CPU, torch.float32, positions, packing)
        return ModelRunner(config, weights, allocate(config, slots, positions, text, CPU, torch.float32, pages))


def make_reference(
    folder: Path, channels: int, *, hidden: int = 64, vocabulary: int = VOCABULARY, layers: int = 2,
    listen_to: torch.Tensor | None = None,
) -> Reference:  # fmt: skip
    """Write a checkpoint; its matrices have a large variance, so that greedy codes vary.

    Its EnCodec hears no difference, unless `listen_to`, samples [n], is what its codes are to follow.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MusicgenForConditionalGeneration(_config(channels, hidden, vocabulary, layers)).eval()
        spread_weights(model)
        if listen_to is not None:
            standardise_embeddings(model.audio_encoder, listen_to)
        ids = torch.randint(3, 200, (2, 11))
    mask = save_reference(model, folder, vocabulary, ids)
    eager = MusicgenForConditionalGeneration.from_pretrained(folder, attn_implementation="eager")
    return Reference(eager.eval(), folder, ids, mask)


def save_reference(model: Any, folder: Path, vocabulary: int, ids: torch.Tensor) -> torch.Tensor:
    """Write a model; cut the second of two texts `ids` [2, n] to five tokens, and return their mask."""
    settings = model.generation_config
    settings.bos_token_id = settings.pad_token_id = settings.decoder_start_token_id = vocabulary
    settings.max_length = POSITIONS
    model.save_pretrained(folder)
    mask = torch.ones_like(ids)
    ids[1, 5:], mask[1, 5:] = 0, 0
    return mask


@torch.no_grad()
def standardise_embeddings(codec: Any, samples: torch.Tensor) -> None:
    """Scale and shift what an EnCodec of random weights encodes samples [n] to: mean 0, deviation 1, as its codebooks.

    Random layers put out nearly the same vector for any sound, and all codes would be equal.
    """
    embeddings, last = codec.encoder(samples[None, None])[0], codec.encoder.layers[-1].conv  # [D, T]
    spread, mean = embeddings.std(dim=1), embeddings.mean(dim=1)
    last.bias.copy_((last.bias - mean) / spread)
    last.parametrizations.weight.original0.div_(spread[:, None, None])


def spread_weights(model: Any) -> None:
    """Draw weights of a larger variance than transformers does; the decoder's are exact in 16 bits, as published."""
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            if parameter.dim() == 2:
                parameter.copy_(torch.randn_like(parameter).mul_(0.25).half())
        for layer in model.audio_encoder.quantizer.layers:
            layer.codebook.embed.normal_()


def _config(channels: int, hidden: int, vocabulary: int, layers: int) -> MusicgenConfig:
    text, audio = encoder_configs(vocabulary)
    decoder = MusicgenDecoderConfig(**decoder_sizes(channels, hidden, vocabulary, layers))
    return MusicgenConfig(text_encoder=text, audio_encoder=audio, decoder=decoder)


def encoder_configs(vocabulary: int) -> tuple[T5Config, EncodecConfig]:
    text = T5Config(vocab_size=200, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    audio = EncodecConfig(
        target_bandwidths=[0.2 * (vocabulary.bit_length() - 1)],  # kbit/s, for four codebooks at 50 frames a second
        sampling_rate=32000, audio_channels=1, normalize=False, hidden_size=16,
        num_filters=4, num_residual_layers=1, upsampling_ratios=[8, 5, 4, 4], codebook_size=vocabulary,
        codebook_dim=16, use_causal_conv=False, num_lstm_layers=2, norm_type="weight_norm", use_conv_shortcut=False,
    )  # fmt: skip
    return text, audio


def decoder_sizes(channels: int, hidden: int, vocabulary: int, layers: int) -> dict[str, Any]:
    return dict(
        vocab_size=vocabulary, num_hidden_layers=layers, ffn_dim=256, num_attention_heads=2 if hidden % 4 else 4,
        hidden_size=hidden,
        num_codebooks=4 * channels, audio_channels=channels, tie_word_embeddings=False,
        pad_token_id=vocabulary, bos_token_id=vocabulary, eos_token_id=None,
    )  # fmt: skip
