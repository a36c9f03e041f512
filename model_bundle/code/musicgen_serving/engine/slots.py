"""What a slot holds on the device: its place in the sequence, its parameters, its tokens and its attention caches."""

from dataclasses import dataclass

import torch

from musicgen_serving.engine.decoder_config import DecoderConfig
from musicgen_serving.engine.sampling_params import SamplingParams

ROWS = 2  # of a slot: conditional, unconditional


@dataclass(frozen=True, kw_only=True)
class Slots:
    """S slots for clips of up to P positions and texts of up to T tokens.

    A slot's two rows lie side by side, so that any run of slots is one run of rows, and a step over it copies nothing.
    The unconditional rows attend to no text.
    """

    cache: list[torch.Tensor]  # per layer [2S, 2 (key, value), heads, P, head size]
    cross: list[torch.Tensor]  # per layer [S, 2 (key, value), heads, T, head size]
    cross_mask: torch.Tensor  # [S, 1, 1, T]
    tokens: torch.Tensor  # [S, K, P + 1]
    position: torch.Tensor  # [S], the next to be fed
    guidance: torch.Tensor  # [S], as are the rest
    temperature: torch.Tensor
    top_k: torch.Tensor
    top_p: torch.Tensor
    seed: torch.Tensor
    greedy: torch.Tensor
    broken: torch.Tensor  # whether logits were ever not finite
    text_tokens: torch.Tensor  # of the clip's text
    active: torch.Tensor  # whether a clip is here that steps advance

    @property
    def per_slot(self) -> tuple[torch.Tensor, ...]:
        """Every tensor of which a slot has one row."""
        return (
            self.cross_mask, self.tokens, self.position, self.guidance, self.temperature, self.top_k, self.top_p,
            self.seed, self.greedy, self.broken, self.text_tokens, self.active, *self.cross,
        )  # fmt: skip

    def set_parameters(self, slot: int, params: SamplingParams, seed: int, vocabulary: int) -> None:
        """Write one clip's sampling parameters."""
        self.guidance[slot] = params.guidance_scale
        self.temperature[slot] = params.temperature
        self.top_k[slot] = min(params.top_k or vocabulary, vocabulary)
        self.top_p[slot] = params.top_p
        self.seed[slot] = seed
        self.greedy[slot] = not params.do_sample
        self.broken[slot] = False

    def occupy(self, slot: int, position: int, text_tokens: int) -> None:
        """Let steps advance a slot from a position on; its text has so many tokens."""
        self.position[slot] = position
        self.text_tokens[slot] = text_tokens
        self.active[slot] = True

    def vacate(self, slot: int) -> None:
        """Let steps pass a slot by; it waits at position 0, where a step over a run of slots may read and write it."""
        self.active[slot] = False
        self.position[slot] = 0

    def heal(self, slot: int, length: int) -> None:
        """Zero a slot's cache up to `length` if its clip is broken, without asking the device whether it is.

        What attention masks it still multiplies by zero, and NaN times zero is NaN. It reads and writes what one step
        reads of this clip, twice over.
        """
        for cache in self.cache:
            cache[ROWS * slot : ROWS * (slot + 1), :, :, :length].masked_fill_(self.broken[slot], 0)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a slot's state, of which `length` positions are in use, over another's."""
        for tensor in self.per_slot:
            tensor[target] = tensor[source]
        for cache in self.cache:
            rows = cache.view(-1, ROWS, *cache.shape[1:])[..., :length, :]
            rows[target] = rows[source]


def allocate(
    config: DecoderConfig, slots: int, positions: int, text: int, device: torch.device, dtype: torch.dtype
) -> Slots:
    """Slots that are all empty. Caches start at zero, because attention multiplies what it masks by zero."""

    def caches(rows: int, length: int) -> list[torch.Tensor]:
        shape = (rows, 2, config.heads, length, config.head_size)
        return [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.layers)]

    def per_slot(dtype: torch.dtype, fill: float = 1) -> torch.Tensor:
        return torch.full((slots,), fill, device=device, dtype=dtype)

    return Slots(
        cache=caches(ROWS * slots, positions),
        cross=caches(slots, text),
        cross_mask=torch.ones((slots, 1, 1, text), device=device, dtype=torch.bool),
        tokens=torch.full((slots, config.codebooks, positions + 1), config.pad_token, device=device),
        position=per_slot(torch.long, 0),
        guidance=per_slot(torch.float32),
        temperature=per_slot(torch.float32),
        top_k=per_slot(torch.long),
        top_p=per_slot(torch.float32),
        seed=per_slot(torch.long, 0),
        greedy=per_slot(torch.bool, 0),
        broken=per_slot(torch.bool, 0),
        text_tokens=per_slot(torch.long),
        active=per_slot(torch.bool, 0),
    )


def bytes_per_slot(config: DecoderConfig, positions: int, text: int, dtype: torch.dtype) -> int:
    """Device memory that one slot takes, in bytes: its caches, all else being small."""
    width = 2 * config.layers * config.hidden * dtype.itemsize
    return width * (ROWS * positions + text)
