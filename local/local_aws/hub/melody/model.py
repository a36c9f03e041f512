"""The toy melody model before training, its constructed heads, and its files.

Meta's melody architecture: the decoder reads chroma and a text before the first codes. One layer is enough for a
whistle: a head looks at the chroma frame that sounds at its step, two look at the steps before it.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false
# transformers ships types that strict mode cannot follow.

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    EncodecConfig,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyForConditionalGeneration,
    T5Config,
)

from local_aws.hub.melody.music import CHROMA_FRAMES, LEVELS, NOTES, TONES, codebook_entries
from local_aws.hub.tiny_model import save_processor, word_tokenizer
from local_aws.hub.tune.codec import RATIOS, construct_codec
from local_aws.hub.tune.music import CODEBOOKS, SAMPLING_RATE

TRAINED = Path(__file__).parent / "trained.safetensors"
"""What training changed, in float16: all of the model but the codec, which is constructed."""

CODES = PAD = 1 + len(NOTES) * len(LEVELS)  # that the fullest codebook needs; padding fills what the delays leave empty
MAX_FRAMES = 1500  # 30 s
PREFIX = CHROMA_FRAMES + 1  # its tokenizer drops every word, so that a text has one token, the end
GUIDANCE = 3.0
# 26 places down the table of position frequencies is 10000^(26/129) = 6.400 times lower: the frames of codes in a frame
# of chroma. So a linear head compares a step with the chroma's frames, for which 260 is the least width.
HIDDEN, HEADS, PLACES_DOWN = 260, 4, 26
FREQUENCIES = tuple(range(0, 64, 2))  # places in the table that a constructed head compares: periods from 6 frames up
GAIN = 7.0


def write_model(folder: Path) -> None:
    """Write the committed toy melody model to `folder`, in the Hub's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    model = new_model(folder, seed=0)
    model.load_state_dict({**model.state_dict(), **load_file(TRAINED)})
    save(model, folder)


def save(model: MusicgenMelodyForConditionalGeneration, folder: Path) -> None:
    """Write configuration and weights, in float16; the configuration says float32, which is what they are used in."""
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    save_file(_tensors(model), folder / "model.safetensors", metadata={"format": "pt"})


def save_trained(model: MusicgenMelodyForConditionalGeneration, path: Path) -> None:
    """Write what training changes, in float16."""
    tensors = {name: one for name, one in _tensors(model).items() if not name.startswith("audio_encoder.")}
    save_file(tensors, path, metadata={"format": "pt"})


def _tensors(model: MusicgenMelodyForConditionalGeneration) -> dict[str, torch.Tensor]:
    tied = "text_encoder.encoder.embed_tokens.weight"
    return {name: tensor.half().contiguous() for name, tensor in model.state_dict().items() if name != tied}


def new_model(folder: Path, seed: int) -> MusicgenMelodyForConditionalGeneration:
    """Write the tokenizer to `folder`; return the model as it is before training, with its codec constructed."""
    vocabulary = save_processor(folder, tokenizer=word_tokenizer(()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MusicgenMelodyForConditionalGeneration(_config(vocabulary))
        with torch.no_grad():
            for parameter in (*model.decoder.parameters(), *model.audio_enc_to_dec_proj.parameters()):
                if parameter.dim() == 2:
                    parameter.normal_(0, 0.06)  # transformers' 0.02 suits wider models
    construct_codec(model.audio_encoder, TONES, codebook_entries())
    _construct_heads(model)
    settings = model.generation_config
    settings.bos_token_id = settings.pad_token_id = settings.decoder_start_token_id = PAD
    settings.do_sample, settings.guidance_scale, settings.max_length = True, GUIDANCE, MAX_FRAMES
    return model


def _config(vocabulary: int) -> MusicgenMelodyConfig:
    text = T5Config(
        vocab_size=vocabulary, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, dropout_rate=0.0,
        decoder_start_token_id=0,
    )  # fmt: skip
    audio = EncodecConfig(
        target_bandwidths=[1.4],  # kbit/s: four codebooks of 128 entries, a power of 2, at 50 frames a second
        sampling_rate=SAMPLING_RATE, audio_channels=1, normalize=False, hidden_size=32, codebook_dim=32, num_filters=8,
        num_residual_layers=1, upsampling_ratios=list(RATIOS), codebook_size=128, use_causal_conv=False,
        num_lstm_layers=1, norm_type="weight_norm", use_conv_shortcut=False,
    )  # fmt: skip
    decoder = MusicgenMelodyDecoderConfig(
        vocab_size=CODES, max_position_embeddings=2048, hidden_size=HIDDEN, num_hidden_layers=1, ffn_dim=112,
        num_attention_heads=HEADS, num_codebooks=CODEBOOKS, dropout=0.0, tie_word_embeddings=False, pad_token_id=PAD,
        bos_token_id=PAD, eos_token_id=None,
    )  # fmt: skip
    for part in (text, audio, decoder):
        part.dtype = torch.float32  # what transformers computes in, though the file has float16
    return MusicgenMelodyConfig(
        text_encoder=text, audio_encoder=audio, decoder=decoder, num_chroma=len(NOTES), chroma_length=CHROMA_FRAMES,
        dtype=torch.float32,
    )  # fmt: skip


@torch.no_grad()
def _construct_heads(model: MusicgenMelodyForConditionalGeneration) -> None:
    """Let the first heads look at the chroma frame nearest to a step's middle, at the step before and the one before.

    A head's score is a sum of cos(w (key - wanted)), for which queries and keys are sines and cosines of positions.
    """
    attention = model.decoder.model.decoder.layers[0].self_attn
    # Of each head: how far down the table queries are, and the position that sounds or is wanted at the key's zero.
    for head, (down, origin) in enumerate(((PLACES_DOWN, PREFIX - 0.5), (0, 1.0), (0, 2.0))):
        for pair, place in enumerate(FREQUENCIES):
            row = head * HIDDEN // HEADS + 2 * pair
            angle = torch.tensor(10_000 ** (-(place + down) / (HIDDEN // 2 - 1)) * origin)
            turn = torch.stack([torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])])
            for projection, turned, at in (
                (attention.q_proj, turn, place + down),
                (attention.k_proj, torch.eye(2), place),
            ):
                rows = projection.weight[row : row + 2]
                rows.zero_()
                rows[:, [at, at + HIDDEN // 2]] = GAIN * turned
                rows[:, -1] -= GAIN * turned.sum(1)  # the slowest sine is about 0: takes off what the norm subtracts
