"""Tensors for the tests of the GPU's kernels."""

import torch

from musicgen_serving.engine.kernels.linear import ResidualStream
from musicgen_serving.engine.model.weights import Norm

CPU = torch.device("cpu")


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float32, scale: float = 1) -> torch.Tensor:
    """Numbers of a normal distribution."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) * scale).to(dtype)


def relative_error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """How long the difference is beside what was wanted."""
    return float((got - wanted).square().sum().sqrt() / wanted.square().sum().sqrt())


def some_norm(width: int, seed: int, dtype: torch.dtype = torch.float32) -> Norm:
    """A norm that scales and shifts."""
    return Norm(normal(width, seed=seed, dtype=dtype) + 1, normal(width, seed=seed + 1, dtype=dtype))


def stream_of(values: torch.Tensor, gain: torch.Tensor, dtype: torch.dtype) -> ResidualStream:
    """The residual stream with values [2n, H], as its writers leave it before a norm of this gain."""
    stream = ResidualStream.allocate(values.shape[0], values.shape[1], CPU, dtype)
    chunks = values.view(values.shape[0], -1, stream.chunk)
    stream.values.copy_(values)
    stream.scaled.copy_(values * gain / 16)
    stream.means.copy_(chunks.mean(-1))
    stream.deviations.copy_((chunks - chunks.mean(-1, keepdim=True)).square().sum(-1))
    return stream
