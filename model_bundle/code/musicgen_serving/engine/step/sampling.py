"""Sample tokens on the device, each slot by its own parameters, without a generator and without waiting for the host.

A token is argmax(logit + Gumbel noise), which has the softmax's distribution (Gumbel 1954; Maddison et al. 2014). The
noise is a hash of (seed, position, codebook, token), so it does not depend on the slot or on the rest of the batch.
"""

import torch

from musicgen_serving.engine.model.decoder import arange

# splitmix64's increments and finaliser (Steele et al. 2014), as signed 64-bit integers
SEED, POSITION, TOKEN = 6364136223846793005, 1442695040888963407, 2862933555777941757
FINALISER = ((30, -4658895280553007687), (27, -7723592293110705685))


def hashed_uniform(seed: torch.Tensor, position: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return uniform values in (0, 1) of 23 bits, one for each index [n, K, C]; seed and position are [n]."""
    x = seed[:, None, None] * SEED + position[:, None, None] * POSITION + index * TOKEN
    for shift, factor in FINALISER:
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    x = x ^ ((x >> 31) & ((1 << 33) - 1))
    return (((x >> 41) & 0x7FFFFF).float() + 0.5) * 2.0**-23


def apply_guidance(logits: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Apply classifier-free guidance of scale [n] (Ho, Salimans 2022) to logits [n, 2, K, V], conditional first."""
    conditional, unconditional = logits.unbind(1)  # [n, K, V]
    scale = scale[:, None, None]
    return torch.where(scale == 1, conditional, unconditional + (conditional - unconditional) * scale)


def top_p_mask(values: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Return which of the values [n, K, C], in descending order, are in the smallest set of probability top_p [n]."""
    probability = values.softmax(-1)
    before = probability.cumsum(-1) - probability
    return before < top_p[:, None, None]


def sample(
    logits: torch.Tensor, *, temperature: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor,
    greedy: torch.Tensor, seed: torch.Tensor, position: torch.Tensor, max_top_k: int, use_top_p: bool,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return tokens [n, K, 1] from logits [n, K, V], and whether each slot's logits are finite [n].

    Every parameter is [n]; `max_top_k` is the largest top_k, and `use_top_p` whether any top_p is below 1.
    """
    codebooks, vocabulary = logits.shape[1:]
    values, tokens = logits.topk(max_top_k, dim=-1)  # [n, K, max_top_k], descending, NaN first
    finite = values[..., 0].isfinite().all(-1)
    values = values / temperature[:, None, None]
    values = values.masked_fill(arange(max_top_k, logits.device) >= top_k[:, None, None], float("-inf"))
    if use_top_p:
        values = values.masked_fill(~top_p_mask(values, top_p), float("-inf"))
    codebook = arange(codebooks, logits.device)[:, None] * vocabulary  # [K, 1]
    uniform = hashed_uniform(seed, position, tokens + codebook)
    noisy = values - torch.log(-torch.log(uniform))
    choice = noisy.argmax(-1, keepdim=True).masked_fill(greedy[:, None, None], 0)  # the first is the most likely
    return tokens.gather(-1, choice), finite
