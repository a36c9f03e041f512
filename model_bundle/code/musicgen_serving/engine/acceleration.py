"""What makes steps fast on a GPU: kernels in place of torch's operations, and recorded steps. A CPU has neither."""

from dataclasses import replace

import torch

from musicgen_serving.engine.buckets import doublings
from musicgen_serving.engine.cuda_graphs import CudaRecorder
from musicgen_serving.engine.decode_loop import DecodeLoop
from musicgen_serving.engine.decoder_config import DecoderConfig
from musicgen_serving.engine.decoder_weights import DecoderWeights, LayerWeights, Norm
from musicgen_serving.engine.direct_graphs import DirectRecorder
from musicgen_serving.engine.graphs import Recorded, Recorder
from musicgen_serving.engine.quantised import Matrix, quantise
from musicgen_serving.engine.slots import allocate
from musicgen_serving.engine.torch_step import Advance, TorchStep
from musicgen_serving.engine.window import window
from musicgen_serving.json_log import JsonLog


def kernel_step(config: DecoderConfig, weights: DecoderWeights, positions: int, log: JsonLog) -> Advance | None:
    """The step made of kernels; None, and a line in the log, where their compiler is not there.

    None for float32 too, which a GPU's tensor cores would round to 10 bits: who asks for it wants its precision.
    """
    if weights.heads.dtype == torch.float32 and weights.heads.device.type != "cpu":
        return None
    try:
        from musicgen_serving.engine.kernels.step import KernelStep  # Triton: only where there is a GPU
    except ImportError as error:
        log.write("kernels_missing", error=repr(error), instead="torch's own operations")
        return None
    return KernelStep(config, weights, positions)


def record(loop: DecodeLoop, log: JsonLog) -> Recorded | None:
    """Record the loop's steps as CUDA graphs; None on a CPU."""
    if loop.device.type != "cuda":
        return None
    with torch.cuda.device(loop.device):
        allocating = isinstance(loop.advance, TorchStep)
        return loop.record(CudaRecorder(loop.device) if allocating else recorder(loop.device, log), log)


def recorder(device: torch.device, log: JsonLog) -> Recorder:
    """For steps that allocate nothing: what launches one and no more; torch's, which does, where that does not work."""
    try:
        return DirectRecorder(device)
    except (RuntimeError, OSError, AttributeError) as error:
        log.write("direct_graphs_failed", error=repr(error), instead="torch's own graphs")
        return CudaRecorder(device)


def compile_kernels(
    config: DecoderConfig, slots: int, positions: int, text: int, device: torch.device, dtype: torch.dtype, *,
    eight_bit: bool, log: JsonLog,
) -> bool:  # fmt: skip
    """Compile what steps over up to `slots` slots will use, by steps of one layer of zeros and no clip.

    What is compiled depends on widths and numbers of slots, and neither on the weights nor on how many layers there
    are: so this can be done while the weights are read. Compiled kernels stay in Triton's cache on disk, where a worker
    that is started anew finds them. False, and a line in the log, where they cannot be compiled or launched: Triton
    needs a C compiler beside it, and a driver that is not too old. Torch's own operations then serve.
    """
    try:
        return _compile(config, slots, positions, text, device, dtype, eight_bit, log)
    except Exception as error:  # of many kinds, Triton's own and the operating system's
        log.write("kernels_failed", error=repr(error), instead="torch's own operations")
        return False


def _compile(
    config: DecoderConfig, slots: int, positions: int, text: int, device: torch.device, dtype: torch.dtype,
    eight_bit: bool, log: JsonLog,
) -> bool:  # fmt: skip
    thin = replace(config, layers=1)
    step = kernel_step(thin, _zeros(thin, positions, device, dtype, eight_bit), positions, log)
    if step is None:
        return False
    empty = allocate(thin, slots, positions, text, device, dtype)
    for count in reversed(doublings(1, slots)):
        step(window(empty, 0, count, positions, text), most=config.vocabulary, use_top_p=True)
    return True


def _zeros(
    config: DecoderConfig, positions: int, device: torch.device, dtype: torch.dtype, eight_bit: bool
) -> DecoderWeights:
    """A decoder of one layer, all zero."""
    hidden, ffn = config.hidden, config.ffn

    def dense(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, device=device, dtype=dtype)

    def matrix(rows: int, columns: int) -> Matrix:
        return quantise(dense(rows, columns)) if eight_bit else dense(rows, columns)

    norm = Norm(dense(hidden), dense(hidden))
    layer = LayerWeights(
        self_norm=norm, qkv=matrix(3 * hidden, hidden), self_out=matrix(hidden, hidden), cross_norm=norm,
        cross_q=matrix(hidden, hidden), cross_kv=dense(2 * hidden, hidden), cross_out=matrix(hidden, hidden),
        ffn_norm=norm, ffn_in=matrix(ffn, hidden), ffn_out=matrix(hidden, ffn),
    )  # fmt: skip
    return DecoderWeights(
        embeddings=dense(config.codebooks * (config.vocabulary + 1), hidden), positions=dense(positions, hidden),
        layers=(layer,), final_norm=norm, heads=dense(config.codebooks * config.vocabulary, hidden), project=None,
    )  # fmt: skip
