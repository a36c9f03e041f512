"""Measure the error of the served weights' logits against float32, over the same tokens."""

from pathlib import Path

import torch

from benchmarks.gpu.engine_run import free_unused_memory
from musicgen_serving.engine.loading import kernel_step
from musicgen_serving.engine.model.config import DecoderConfig, decoder_config, read_config
from musicgen_serving.engine.model.decoder import forward
from musicgen_serving.engine.model.weights import DecoderWeights, WeightFiles, load_decoder
from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.step.decode_loop import DecodeLoop
from musicgen_serving.engine.step.kv_cache import Slots, allocate, batch_view
from musicgen_serving.json_log import JsonLog

POSITIONS, TEXT, GUIDANCE = 96, 16, 3.0


def errors(
    folder: Path, device: torch.device, log: JsonLog, *, eight_bit: bool, dtype: torch.dtype | None = None
) -> dict[str, float]:
    """Return the relative errors of logits before and after guidance.

    `dtype` defaults to float16 on a GPU and float32 on a CPU. The two decoders are in memory one after the other.
    """
    free_unused_memory()
    config = decoder_config(read_config(folder))
    served = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    ours = forced(config, read(folder, config, device, served, eight_bit), *inputs(folder, config, device), log)
    reference = read(folder, config, device, torch.float32, eight_bit=False)
    wanted = by_torch(config, reference, *inputs(folder, config, device))
    return {"both_rows": relative(ours, wanted), "guided": relative(mixed(ours), mixed(wanted))}


def read(
    folder: Path, config: DecoderConfig, device: torch.device, dtype: torch.dtype, eight_bit: bool
) -> DecoderWeights:
    """The checkpoint's decoder."""
    with WeightFiles(folder, device) as files:
        return load_decoder(files, config, device, dtype, POSITIONS, eight_bit=eight_bit)


def inputs(folder: Path, config: DecoderConfig, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Random tokens [K, positions] and a random text's states [tokens, T5's width]."""
    generator = torch.Generator(device).manual_seed(5)
    tokens = torch.randint(config.vocabulary, (config.codebooks, POSITIONS), generator=generator, device=device)
    return tokens, torch.randn(TEXT, read_config(folder)["text_encoder"]["d_model"], generator=generator, device=device)


def forced(
    config: DecoderConfig, weights: DecoderWeights, tokens: torch.Tensor, states: torch.Tensor, log: JsonLog
) -> torch.Tensor:
    """Return logits [positions, 2, K * V] of this device's step; tokens [K, positions] are fed whatever it samples."""
    step = kernel_step(config, weights, POSITIONS, log) if tokens.device.type == "cuda" else None
    if step is None:
        return by_torch(config, weights, tokens, states)
    from musicgen_serving.engine.kernels.step import KernelStep

    assert isinstance(step, KernelStep)
    loop = holding(DecodeLoop(config, weights, slots_of(config, weights), step), tokens, states)
    logits: list[torch.Tensor] = []
    for _ in range(POSITIONS):
        loop.step(0, 1, length=POSITIONS, text_length=TEXT, max_top_k=config.vocabulary, use_top_p=False)
        logits.append(step.buffers(1).logits.clone())
    return torch.stack(logits).float()


@torch.inference_mode()
def by_torch(
    config: DecoderConfig, weights: DecoderWeights, tokens: torch.Tensor, states: torch.Tensor
) -> torch.Tensor:
    """Return the same logits by torch's own operations."""
    loop = holding(DecodeLoop(config, weights, slots_of(config, weights)), tokens, states)
    one = batch_view(loop.slots, 0, 1, POSITIONS, TEXT)
    logits: list[torch.Tensor] = []
    for position in range(POSITIONS):
        here = torch.full((1, 1), position, device=tokens.device)
        logits.append(
            forward(
                weights,
                config.heads,
                one.layers,
                one.cross_mask,
                loop.slots.tokens[:, :, position : position + 1],
                here,
            )[0]
        )
    return torch.stack(logits).float()


def slots_of(config: DecoderConfig, weights: DecoderWeights) -> Slots:
    """One slot of the weights' type."""
    return allocate(config, 1, POSITIONS, TEXT, weights.heads.device, weights.heads.dtype)


def holding(loop: DecodeLoop, tokens: torch.Tensor, states: torch.Tensor) -> DecodeLoop:
    """Return the loop with these tokens in its slot."""
    loop.admit(0, states, POSITIONS - max(loop.config.delays) - 1, SamplingParams(), 0)
    loop.slots.tokens[0, :, :POSITIONS] = tokens
    return loop


def mixed(logits: torch.Tensor) -> torch.Tensor:
    """Apply guidance to logits [positions, 2, K * V]."""
    conditional, unconditional = logits.unbind(1)
    return unconditional + GUIDANCE * (conditional - unconditional)


def relative(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the relative error in the Euclidean norm."""
    return float((got - wanted).square().sum().sqrt() / wanted.square().sum().sqrt())
