"""Weights of 8 bits: half the bytes that a step reads, for a known error (LLM.int8(), Dettmers et al. 2022)."""

from dataclasses import dataclass

import torch

LARGEST = 127  # symmetric: -128 is not used


@dataclass(frozen=True)
class Quantised:
    """A weight [out, in] as integers with one scale for each row of outputs."""

    values: torch.Tensor  # [out, in], int8
    scale: torch.Tensor  # [out], float32

    @property
    def shape(self) -> torch.Size:
        """[out, in]."""
        return self.values.shape

    def dense(self) -> torch.Tensor:
        """The weight that it stands for [out, in], in float32."""
        return self.values.float() * self.scale[:, None]


Matrix = torch.Tensor | Quantised


def quantise(weight: torch.Tensor) -> Quantised:
    """Round a weight [out, in] to the nearest of 255 levels, evenly spaced up to each row's largest magnitude."""
    largest = weight.abs().amax(dim=1).float()
    scale = torch.where(largest > 0, largest / LARGEST, 1)
    return Quantised((weight.float() / scale[:, None]).round_().to(torch.int8), scale)


def dense(weight: Matrix) -> torch.Tensor:
    """A weight [out, in] in float32, whichever way it is kept."""
    return weight.dense() if isinstance(weight, Quantised) else weight.float()
