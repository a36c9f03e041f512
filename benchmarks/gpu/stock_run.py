"""Measure transformers' generate on the same checkpoint: as in the AWS sample, in float16, and compiled."""
# pyright: reportUnknownMemberType=false
# transformers ships types that strict mode cannot follow.

import statistics
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch._dynamo.config as dynamo
from transformers import DynamicCache, EncoderDecoderCache, StaticCache

from benchmarks.gpu.device import seconds
from benchmarks.gpu.engine_run import TEXT, Plan, free_unused_memory
from benchmarks.stock import Stock


class StaticCompiled(Stock):
    """generate over a static self-attention cache, its decoder compiled; endless recompilation is an error."""

    def __init__(self, folder: Path, device: torch.device, steps: int) -> None:
        super().__init__(folder, device, torch.float16)
        self._most = steps + 8
        limit = "fail_on_recompile_limit_hit"
        setattr(dynamo, limit if hasattr(dynamo, limit) else "fail_on_cache_limit_hit", True)  # as torch 2.6 has it
        compiled = torch.compile(self.model.decoder.forward, dynamic=False)

        def forward(input_ids: torch.Tensor, **rest: Any) -> Any:
            return compiled(input_ids=input_ids.clone(), **rest)  # slices of a longer tensor would recompile

        self.model.decoder.forward = forward

    def options(self) -> dict[str, Any]:
        """Return generate's further arguments."""
        config = self.model.decoder.config
        static = StaticCache(config, max_cache_len=self._most)
        return {"past_key_values": EncoderDecoderCache(static, DynamicCache(config=config))}


@contextmanager
def freed(stock: Stock) -> Generator[Stock]:
    """Free the model afterwards."""
    try:
        yield stock
    finally:
        del stock.model
        free_unused_memory()


WAYS = ("sample", "float16", "static_compiled")


def model_of(way: str, folder: Path, device: torch.device, plan: Plan) -> Stock:
    """Return the model that a method uses."""
    if way == "static_compiled":
        return StaticCompiled(folder, device, plan.stock_steps)
    return Stock(folder, device, torch.float32 if way == "sample" else torch.float16, decode=True)


def measure(way: str, folder: Path, device: torch.device, plan: Plan, turn: Callable[[], None]) -> dict[str, Any]:
    """Measure one method's clip, cut short and scaled to the whole, calling `turn` before each; or return its error."""
    free_unused_memory()
    try:
        with freed(model_of(way, folder, device, plan)) as stock:
            clip = stock.as_the_sample if way == "sample" else stock.warm
            clip(TEXT, plan.stock_steps)  # warms up
            times: list[float] = []
            for _ in range(plan.rounds):
                turn()
                times.append(seconds(lambda: clip(TEXT, plan.stock_steps), device))
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"[:500]}
    scale, measured = plan.steps / plan.stock_steps, statistics.median(times)
    return {"steps": plan.stock_steps, "seconds": measured, "scaled_by": scale, "clip_seconds": measured * scale}
