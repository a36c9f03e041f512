"""A small melody model in transformers, and the codes that its generate returns for a text, a melody or both."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportOptionalMemberAccess=false
# pyright: reportIncompatibleMethodOverride=false
# transformers ships types that strict mode cannot follow.

from functools import wraps
from pathlib import Path
from typing import Any

import torch
from transformers import MusicgenMelodyConfig, MusicgenMelodyDecoderConfig, MusicgenMelodyForConditionalGeneration

from tests.model_bundle.helpers.reference_musicgen import (
    VOCABULARY,
    Reference,
    decoder_sizes,
    encoder_configs,
    save_reference,
    spread_weights,
)

CHROMA_FRAMES, BINS = 20, 12
END_OF_TEXT = 1  # T5's


class ConditionedMusicgenMelody(MusicgenMelodyForConditionalGeneration):
    """The class of transformers with the repair of https://github.com/huggingface/transformers/pull/48679.

    5.5.3's generate makes an empty cache before the first step, and with a cache it drops melody and text.
    """

    @wraps(MusicgenMelodyForConditionalGeneration.prepare_inputs_for_generation)  # generate asks for its arguments
    def prepare_inputs_for_generation(self, decoder_input_ids: Any, past_key_values: Any = None, **rest: Any) -> Any:
        first = past_key_values is None or past_key_values.get_seq_length() == 0
        inputs = super().prepare_inputs_for_generation(
            decoder_input_ids, past_key_values=None if first else past_key_values, **rest
        )
        return inputs | {"past_key_values": past_key_values}


class MelodyReference(Reference):
    """A checkpoint of a melody model; each clip has a call of its own, as transformers reads a batch's padding."""

    def codes(
        self, frames: int, guidance: float, *, text: int | None = None, melody: torch.Tensor | None = None,
        prompt: torch.Tensor | None = None,
    ) -> torch.Tensor:  # fmt: skip
        """Return the codes [K, frames] of greedy generate with one of the texts, chroma [T, bins] and codes [K, n]."""
        if text is None:  # MusicgenMelodyProcessor.get_unconditional_inputs: the tokens of "", masked
            ids, mask = torch.tensor([[END_OF_TEXT]]), torch.tensor([[0]])
        else:
            length = int(self.mask[text].sum())
            ids, mask = self.ids[text : text + 1, :length], self.mask[text : text + 1, :length]
        given = 0 if prompt is None else prompt.shape[-1]
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "guidance_scale": guidance}
        if melody is not None:
            inputs["input_features"] = melody[None].clone()
        if prompt is not None:
            inputs["decoder_input_ids"] = prompt
        return self._generate(**inputs, max_new_tokens=frames - given + 3)[0]

    @torch.inference_mode()
    def by_hand(
        self, frames: int, guidance: float, *, text: int | None, negative: int | None, melody: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the codes [K, frames] of greedy decoding with a negative prompt, which transformers cannot take.

        Feeds its decoder both rows, the shorter text padded with zeros, without a cache, and applies guidance and the
        delay pattern here.
        """
        model, vocabulary = self.model, self.model.decoder.config.vocab_size
        null = torch.nn.functional.one_hot(torch.zeros(CHROMA_FRAMES, dtype=torch.long), BINS).float()
        given = null if melody is None else melody.repeat(CHROMA_FRAMES, 1)[:CHROMA_FRAMES]
        texts = [
            torch.zeros(1, 64) if one is None else model.enc_to_dec_proj(self.states(one)) for one in (text, negative)
        ]
        padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
        states = torch.cat([model.audio_enc_to_dec_proj(torch.stack([given, null])), padded], dim=1)
        delays = [codebook // (self.codebooks // 4) for codebook in range(self.codebooks)]
        tokens = torch.full((self.codebooks, frames + 4), vocabulary)  # the pad token
        for position in range(frames + 3):
            fed = tokens[:, : position + 1].repeat(2, 1)  # [2K, position + 1]
            out = model.decoder(fed, encoder_hidden_states=states, use_cache=False)
            logits = out.logits[:, -1].view(2, self.codebooks, -1)  # [2, K, V]
            best = (logits[1] + guidance * (logits[0] - logits[1])).argmax(-1)
            for codebook, delay in enumerate(delays):
                if 0 <= position - delay < frames:
                    tokens[codebook, position + 1] = best[codebook]
        return torch.stack([row[1 + delay : 1 + delay + frames] for row, delay in zip(tokens, delays, strict=True)])


def make_melody_reference(folder: Path, channels: int) -> MelodyReference:
    """Write a checkpoint; its matrices have a large variance, so that greedy codes vary."""
    text, audio = encoder_configs(VOCABULARY)
    decoder = MusicgenMelodyDecoderConfig(**decoder_sizes(channels, 64, VOCABULARY, 2))
    config = MusicgenMelodyConfig(
        text_encoder=text, audio_encoder=audio, decoder=decoder, num_chroma=BINS, chroma_length=CHROMA_FRAMES
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MusicgenMelodyForConditionalGeneration(config).eval()
        spread_weights(model)
        with torch.no_grad():
            for projection in (model.enc_to_dec_proj, model.audio_enc_to_dec_proj):  # biases too, which are zero
                projection.weight.normal_()
                projection.bias.normal_()
        ids = torch.randint(3, 200, (2, 11))
    mask = save_reference(model, folder, VOCABULARY, ids)
    eager = ConditionedMusicgenMelody.from_pretrained(folder, attn_implementation="eager")
    return MelodyReference(eager.eval(), folder, ids, mask)


def one_hot(frames: int, seed: int) -> torch.Tensor:
    """Return random chroma [frames, bins], one bin in each frame, as the feature extractor returns."""
    bins = torch.randint(BINS, (frames,), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(bins, BINS).float()
