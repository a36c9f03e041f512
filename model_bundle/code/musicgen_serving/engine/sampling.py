"""Drawing tokens on the device: every slot by its own parameters, without a generator and without waiting for the host.

A token is argmax(logit + Gumbel noise), which has the softmax's distribution (Gumbel 1954; Maddison et al. 2014). The
noise is a hash of (seed, position, codebook, token), so it does not depend on the slot or on what is batched with it.
"""

import torch

from musicgen_serving.engine.constants import counting

# splitmix64's increments and finaliser (Steele et al. 2014), as signed 64-bit integers
SEED, POSITION, TOKEN = 6364136223846793005, 1442695040888963407, 2862933555777941757
FINALISER = ((30, -4658895280553007687), (27, -7723592293110705685))


def hashed_uniform(seed: torch.Tensor, position: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Uniform numbers in (0, 1) of 23 bits, one for each index [n, K, C]; seed and position are [n]."""
    x = seed[:, None, None] * SEED + position[:, None, None] * POSITION + index * TOKEN
    for shift, factor in FINALISER:
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    x = x ^ ((x >> 31) & ((1 << 33) - 1))
    return (((x >> 41) & 0x7FFFFF).float() + 0.5) * 2.0**-23


def guided(logits: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Classifier-free guidance of logits [n, 2, K, V] (conditional, unconditional) by scale [n] (Ho, Salimans 2022)."""
    conditional, unconditional = logits.unbind(1)  # [n, K, V]
    scale = scale[:, None, None]
    return torch.where(scale == 1, conditional, unconditional + (conditional - unconditional) * scale)


def nucleus(values: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Which of the values [n, K, C], sorted downwards, are in the smallest set of probability top_p [n]."""
    probability = values.softmax(-1)
    before = probability.cumsum(-1) - probability
    return before < top_p[:, None, None]


def sample(
    logits: torch.Tensor, *, temperature: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor,
    greedy: torch.Tensor, seed: torch.Tensor, position: torch.Tensor, most: int, use_top_p: bool,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Tokens [n, K, 1] from logits [n, K, V], and whether each slot's logits were finite [n]; every parameter is [n].

    `most` is the largest top_k among the slots and `use_top_p` whether any has one below 1, as the host knows them.
    """
    codebooks, vocabulary = logits.shape[1:]
    values, tokens = logits.topk(most, dim=-1)  # [n, K, most], sorted downwards, NaN first
    finite = values[..., 0].isfinite().all(-1)
    values = values / temperature[:, None, None]
    values = values.masked_fill(counting(most, logits.device) >= top_k[:, None, None], float("-inf"))
    if use_top_p:
        values = values.masked_fill(~nucleus(values, top_p), float("-inf"))
    codebook = counting(codebooks, logits.device)[:, None] * vocabulary  # [K, 1]
    uniform = hashed_uniform(seed, position, tokens + codebook)
    noisy = values - torch.log(-torch.log(uniform))
    choice = noisy.argmax(-1, keepdim=True).masked_fill(greedy[:, None, None], 0)  # the first is the likeliest
    return tokens.gather(-1, choice), finite
