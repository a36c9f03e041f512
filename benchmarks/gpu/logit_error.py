"""The error of the served weights' logits against float32, over the same tokens."""

from pathlib import Path

import torch

from benchmarks.stock import free_unused_memory
from musicgen_serving.engine.loading import kernel_step
from musicgen_serving.engine.model.config import DecoderConfig, decoder_config, read_config
from musicgen_serving.engine.model.decoder import forward
from musicgen_serving.engine.model.quantisation import EIGHT_BIT, UNPACKED
from musicgen_serving.engine.model.weights import DecoderWeights, WeightFiles, load_decoder
from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.paged_attention import paged_attention
from musicgen_serving.engine.step.slots import allocate, batch_view
from musicgen_serving.engine.step.torch_step import StepFn
from musicgen_serving.json_log import JsonLog

POSITIONS, TEXT, GUIDANCE = 96, 16, 3.0
Decoder = tuple[DecoderConfig, DecoderWeights]


def logit_errors(
    folder: Path, device: torch.device, log: JsonLog, *, eight_bit: bool, dtype: torch.dtype | None = None
) -> dict[str, float]:
    """Return the relative errors of logits before and after guidance.

    `dtype` defaults to float16 on a GPU and float32 on a CPU. The two decoders are in memory one after the other.
    """
    free_unused_memory()
    served = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    got = served_logits(read_decoder(folder, device, served, eight_bit), *random_inputs(folder, device), log)
    reference = read_decoder(folder, device, torch.float32, eight_bit=False)
    expected = torch_logits(reference, *random_inputs(folder, device))
    return {"both_rows": relative_error(got, expected), "guided": relative_error(guided(got), guided(expected))}


def read_decoder(
    folder: Path, device: torch.device, dtype: torch.dtype, eight_bit: bool, positions: int = POSITIONS
) -> Decoder:
    config = decoder_config(read_config(folder))
    with WeightFiles(folder, device) as files:
        return config, load_decoder(files, config, device, dtype, positions, EIGHT_BIT if eight_bit else UNPACKED)


def random_inputs(folder: Path, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random tokens [K, positions] and a text's random states [tokens, T5's width]."""
    model, generator = read_config(folder), torch.Generator(device).manual_seed(5)
    config = decoder_config(model)
    tokens = torch.randint(config.vocabulary, (config.codebooks, POSITIONS), generator=generator, device=device)
    return tokens, torch.randn(TEXT, model["text_encoder"]["d_model"], generator=generator, device=device)


def served_logits(decoder: Decoder, tokens: torch.Tensor, states: torch.Tensor, log: JsonLog) -> torch.Tensor:
    """Return logits [positions, 2, K * V] of the device's step function, fed with tokens [K, positions]."""
    config, weights = decoder
    step = kernel_step(config, weights, POSITIONS, log) if tokens.device.type == "cuda" else None
    if step is None:
        return torch_logits(decoder, tokens, states)
    from musicgen_serving.engine.kernels.kernel_step import KernelStep

    assert isinstance(step, KernelStep)
    runner = admit_tokens(decoder, step, tokens, states)
    logits: list[torch.Tensor] = []
    for _ in range(POSITIONS):
        runner.step(0, 1, length=POSITIONS, text_length=TEXT, max_top_k=config.vocabulary, use_top_p=False)
        logits.append(step.buffers(1).logits.clone())
    return torch.stack(logits).float()


@torch.inference_mode()
def torch_logits(decoder: Decoder, tokens: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Return the same logits, computed by torch's own operations."""
    config, weights = decoder
    runner = admit_tokens(decoder, None, tokens, states)
    view = batch_view(runner.slots, 0, 1, POSITIONS, TEXT)
    logits: list[torch.Tensor] = []
    for position in range(POSITIONS):
        fed, here = view.state.tokens[:, :, position : position + 1], torch.full((1, 1), position, device=runner.device)
        logits.append(forward(weights, config.heads, paged_attention(view, here), fed, here)[0])
    return torch.stack(logits).float()


def admit_tokens(decoder: Decoder, step: StepFn | None, tokens: torch.Tensor, states: torch.Tensor) -> ModelRunner:
    """Return a runner with these tokens, all given, in its only slot."""
    config, weights = decoder
    slots = allocate(config, 1, POSITIONS, TEXT, weights.device, weights.dtype)
    runner = ModelRunner(config, weights, slots, step)
    runner.admit(0, states, POSITIONS - max(config.delays) - 1, SamplingParams(), 0)
    slots.tokens[0, :, :POSITIONS] = tokens
    return runner


def guided(logits: torch.Tensor) -> torch.Tensor:
    """Apply guidance to logits [positions, 2, K * V]."""
    conditional, unconditional = logits.unbind(1)
    return unconditional + GUIDANCE * (conditional - unconditional)


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the relative error in the Euclidean norm."""
    return float((got - expected).square().sum().sqrt() / expected.square().sum().sqrt())
