"""Random tensors, norms and residual streams for the kernel tests, and the relative error of a result."""

import torch

from musicgen_serving.engine.kernels.linear import ResidualStream
from musicgen_serving.engine.model.weights import Norm

CPU = torch.device("cpu")


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float32, scale: float = 1) -> torch.Tensor:
    """Return normally distributed values."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) * scale).to(dtype)


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the Euclidean norm of the difference, relative to that of the expected tensor."""
    return float((got - expected).square().sum().sqrt() / expected.square().sum().sqrt())


def make_norm(width: int, seed: int, dtype: torch.dtype = torch.float32) -> Norm:
    return Norm(normal(width, seed=seed, dtype=dtype) + 1, normal(width, seed=seed + 1, dtype=dtype))


def make_stream(values: torch.Tensor, gain: torch.Tensor, dtype: torch.dtype) -> ResidualStream:
    """Return a residual stream of values [2n, H], as kernels write it before a norm with this gain."""
    stream = ResidualStream(values.shape[0], values.shape[1], CPU, dtype)
    chunks = values.view(values.shape[0], -1, stream.chunk)
    stream.values.copy_(values)
    stream.scaled.copy_(values * gain / 16)
    stream.means.copy_(chunks.mean(-1))
    stream.deviations.copy_((chunks - chunks.mean(-1, keepdim=True)).square().sum(-1))
    return stream
