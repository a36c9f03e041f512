"""What the commands that train the toy models share."""
# pyright: reportUnknownMemberType=false
# torch ships types that strict mode cannot follow.

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn


def training_arguments(module: str, description: str | None, seed: int, steps: int) -> argparse.Namespace:
    """Return `folder`, which exists, `seed` and `steps` of a command line; torch then has one thread.

    The order of sums, and so the weights, depend on the number of threads.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("folder", type=Path, help="where to write the model, in the Hub's layout")
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--steps", type=int, default=steps)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    return arguments


def fit(
    parts: Sequence[nn.Module], loss_of_step: Callable[[int], torch.Tensor], steps: int, report: int
) -> list[float]:
    """Train parts of a model with AdamW and one cycle of the learning rate; return the loss of every step.

    Prints the mean of the last `report` losses whenever there are as many new ones.
    """
    learned = [parameter for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.AdamW(learned, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    losses: list[float] = []
    for step in range(steps):
        loss = loss_of_step(step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % report == 0:
            print(f"step {step + 1}: loss {sum(losses[-report:]) / report:.4f}", flush=True)
    return losses
