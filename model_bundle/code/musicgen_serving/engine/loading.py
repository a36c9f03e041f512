"""Load a checkpoint: read weights, compile kernels, allocate slots and record CUDA graphs, timing each for the log."""

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import MusicgenConfig, MusicgenMelodyConfig

from musicgen_serving.engine.host_memory import available_bytes
from musicgen_serving.engine.model.codec import Codec
from musicgen_serving.engine.model.config import DecoderConfig, decoder_config, read_config
from musicgen_serving.engine.model.cpu_matrices import cpu_packing
from musicgen_serving.engine.model.matrix_check import CPU_SAMPLE, MAX_ERROR, MatrixCheck
from musicgen_serving.engine.model.memory import ROWS, clip_sizes, pages_that_fit
from musicgen_serving.engine.model.quantisation import EIGHT_BIT, UNPACKED, Matrix, quantise
from musicgen_serving.engine.model.text_encoder import TextEncoder
from musicgen_serving.engine.model.weights import (
    CrossLayerWeights,
    DecoderWeights,
    LayerWeights,
    Norm,
    WeightFiles,
    load_decoder,
)
from musicgen_serving.engine.sampling_params import MAX_NEW_TOKENS, MAX_TEXT_TOKENS
from musicgen_serving.engine.self_check import CHECK_TEXTS, CheckedStep, SelfCheck
from musicgen_serving.engine.step.graphs import CudaRecorder, RecordedGraphs, doublings
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.slots import allocate, batch_view
from musicgen_serving.json_log import JsonLog

GIB = 1024**3
RESERVED = 2 * GIB  # of a GPU, for the activations of a step, the text encoder and EnCodec


@dataclass(frozen=True, kw_only=True)
class WeightFormat:
    """How the decoder's weights are kept; on a CPU activations are in float32 in any case."""

    dtype: str = "float16"
    eight_bit: bool = False

    @property
    def name(self) -> str:
        return "int8" if self.eight_bit else self.dtype


@dataclass(frozen=True, kw_only=True)
class ModelParts:
    """A loaded checkpoint."""

    text_encoder: TextEncoder
    codec: Codec
    runner: ModelRunner
    check: SelfCheck


class LoadTimer:
    """The fields of the log line `loaded`."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.fields: dict[str, object] = {}

    @contextmanager
    def measure(self, name: str) -> Generator[None]:
        started = time.monotonic()
        yield
        self.fields[f"{name}_seconds"] = round(time.monotonic() - started, 3)

    def write(self, log: JsonLog, device: torch.device) -> None:
        log.write("loaded", seconds=round(time.monotonic() - self._started, 3), **self.fields, device=str(device))


def load_parts(
    folder: Path, device: torch.device, weight_format: WeightFormat, slots: int, timer: LoadTimer, log: JsonLog
) -> ModelParts:
    """Load everything, compiling kernels while the decoder's weights are read.

    Raises ValueError if the checkpoint cannot be served, not even the longest clip fits, or 8-bit weights would be
    slow.
    """
    config, on_gpu = decoder_config(read_config(folder)), device.type == "cuda"
    dtype = torch.float16 if weight_format.dtype == "float16" and on_gpu else torch.float32
    weights_in, packing = weight_format.name, EIGHT_BIT if weight_format.eight_bit else UNPACKED
    if not on_gpu:
        weights_in, packing = cpu_packing(weights_in, log)
    timer.fields["weights"] = weights_in
    positions, text, _ = clip_sizes(config, MAX_NEW_TOKENS, MAX_TEXT_TOKENS, MAX_TEXT_TOKENS)
    kind = MusicgenMelodyConfig if config.melody else MusicgenConfig
    musicgen = kind.from_pretrained(folder, local_files_only=True)  # pyright: ignore[reportUnknownMemberType]

    replaced: list[str] = []

    def read_decoder() -> DecoderWeights:
        with timer.measure("decoder"):
            check = MatrixCheck(packing, sample=1 if on_gpu else CPU_SAMPLE)
            weights = load_decoder(files, config, device, dtype, positions, check.packing)
            if packing is not UNPACKED:
                timer.fields["matrix_error"] = round(check.error, 6)
            if check.error <= MAX_ERROR[weights_in]:
                return weights
            del weights
            replace_matrices(weights_in, check.error, log)
            timer.fields["weights"] = "float32"
            replaced.append("matrices")
            return load_decoder(files, config, device, dtype, positions)

    def prepare_kernels() -> bool:
        with timer.measure("compile"):
            eight_bit = weight_format.eight_bit
            return compile_kernels(config, slots, positions, text, device, dtype, eight_bit=eight_bit, log=log)

    with WeightFiles(folder, device) as files, ThreadPoolExecutor(2) as pool:
        kernels = pool.submit(prepare_kernels) if on_gpu else None
        decoder = pool.submit(read_decoder)
        with timer.measure("text_encoder"):
            text_encoder = TextEncoder(folder, musicgen, files, device)
        with timer.measure("codec"):
            codec = Codec(musicgen, files, config.channels, device)
        weights = decoder.result()
        timer.fields |= files.throughput()
        compiled = kernels is not None and kernels.result()
        step_fn = kernel_step(config, weights, positions, log) if compiled else None
        require_eight_bit_kernels(weight_format.eight_bit and on_gpu, has_kernels=step_fn is not None)
    pages = pages_that_fit(config, slots, positions, text, weights.dtype.itemsize, free_bytes(device))
    cache = allocate(config, slots, positions, text, device, weights.dtype, pages)
    runner = ModelRunner(config, weights, cache, step_fn)
    timer.fields |= {"slots": slots, "pages": runner.allocator.free}
    check = verify(runner, text_encoder, step_fn, replaced, timer, log)
    return ModelParts(text_encoder=text_encoder, codec=codec, runner=runner, check=check)


def verify(
    runner: ModelRunner, text_encoder: TextEncoder, step_fn: CheckedStep | None, replaced: list[str],
    timer: LoadTimer, log: JsonLog,
) -> SelfCheck:  # fmt: skip
    """Verify the kernels, `step_fn`, then record and verify graphs; what fails is replaced.

    `replaced` names the parts that a slower path has replaced already.
    """
    on_gpu = runner.device.type == "cuda"
    texts = [text_encoder.tokenize(text) for text in CHECK_TEXTS] if on_gpu else []
    check = SelfCheck(runner, text_encoder.encode(texts) if texts else [], log, replaced)
    if step_fn is not None:
        check.check_step(step_fn)
    elif on_gpu and runner.weights.dtype == torch.float16:  # not in float32, which no kernels are for
        check.replaced.append("kernels")
    if recorded := record_graphs(runner, log):
        if runner.graphs and recorded.count < len(runner.graphs.recorded):
            check.replaced.append("graphs")  # some that could not be recorded
        check.check_graphs()
        timer.fields |= {"graphs": recorded.count if runner.graphs else 0, "graphs_of": recorded.total}
        timer.fields["graph_seconds"] = round(recorded.seconds, 3)
    return check


def require_eight_bit_kernels(eight_bit: bool, *, has_kernels: bool) -> None:
    """Raise ValueError for a GPU's 8-bit weights without Triton: torch would expand every weight in every step."""
    if eight_bit and not has_kernels:
        raise ValueError(
            "8-bit weights (MUSICGEN_WEIGHT_QUANTISATION=int8) on a GPU need MUSICGEN_DECODER_DTYPE=float16 and a "
            "working Triton (see kernels_missing or kernels_failed in the log); set MUSICGEN_WEIGHT_QUANTISATION=none"
        )


def replace_matrices(weights_in: str, error: float, log: JsonLog) -> None:
    """Log that packed matrices compute wrong products, and that plain ones serve; ValueError in 8 bits.

    8-bit weights are asked for to save memory or time, and plain ones might not fit.
    """
    if weights_in == "int8":
        raise ValueError(
            f"products with 8-bit weights must be within {MAX_ERROR['int8']:.0%} of those with the weights as read, "
            f"got {error:.2%}; set MUSICGEN_WEIGHT_QUANTISATION=none"
        )
    log.write("self_check_failed", part="matrices", instead="plain float32 matrices", error=f"off by {error:.2g}")


def free_bytes(device: torch.device) -> int:
    """Return the memory that KV pages may use: a GPU's free memory less a reserve, or half of a host's."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # start-up's temporary buffers
        return torch.cuda.mem_get_info(device)[0] - RESERVED
    return available_bytes() // 2


def kernel_step(config: DecoderConfig, weights: DecoderWeights, positions: int, log: JsonLog) -> CheckedStep | None:
    """Return the step made of Triton kernels; None, with a log line, if Triton is not installed.

    None for float32 on a GPU too: tensor cores would round it to 10 bits, and a user who asks for it wants precision.
    """
    if weights.dtype == torch.float32 and weights.device.type != "cpu":
        return None
    try:
        from musicgen_serving.engine.kernels.kernel_step import KernelStep  # Triton: only where there is a GPU
        from musicgen_serving.engine.kernels.product_timer import tile_table
    except ImportError as error:
        log.write("kernels_missing", error=repr(error), instead="torch's own operations")
        return None
    return KernelStep(config, weights, positions, tile_table(weights, log))


def compile_kernels(
    config: DecoderConfig, slots: int, positions: int, text: int, device: torch.device, dtype: torch.dtype, *,
    eight_bit: bool, log: JsonLog,
) -> bool:  # fmt: skip
    """Compile the kernels for steps over up to `slots` slots, by stepping a one-layer model of zeros without a clip.

    What is compiled depends on widths and slot counts only, so this can run while the weights are read; Triton's disk
    cache keeps it for the next worker. Returns False, with a log line, if kernels cannot be compiled or launched
    (Triton needs a C compiler and a recent driver); torch's own operations then serve.
    """
    try:
        thin = replace(config, layers=1)
        step = kernel_step(thin, _zero_weights(thin, positions, device, dtype, eight_bit), positions, log)
        if step is None:
            return False
        empty = allocate(thin, slots, positions, text, device, dtype, pages=1)  # without a clip, none is used
        for count in reversed(doublings(1, slots)):
            for text_rows in (1,) if config.melody else (1, ROWS):  # without a negative prompt in the batch, and with
                view = batch_view(empty, 0, count, positions, text, text_rows)
                step(view, max_top_k=config.vocabulary, use_top_p=True)
    except Exception as error:  # of many kinds, Triton's own and the operating system's
        log.write("kernels_failed", error=repr(error), instead="torch's own operations")
        return False
    return True


def _zero_weights(
    config: DecoderConfig, positions: int, device: torch.device, dtype: torch.dtype, eight_bit: bool
) -> DecoderWeights:
    """Return a decoder of one layer, all zero."""
    hidden, ffn = config.hidden, config.ffn

    def dense(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, device=device, dtype=dtype)

    def matrix(rows: int, columns: int) -> Matrix:
        return quantise(dense(rows, columns)) if eight_bit else dense(rows, columns)

    norm = Norm(dense(hidden), dense(hidden))
    layer = LayerWeights(
        self_norm=norm, qkv=matrix(3 * hidden, hidden), self_out=matrix(hidden, hidden), ffn_norm=norm,
        ffn_in=matrix(ffn, hidden), ffn_out=matrix(hidden, ffn),
    )  # fmt: skip
    if not config.melody:
        layer = CrossLayerWeights(
            **vars(layer), cross_norm=norm, cross_q=matrix(hidden, hidden), cross_kv=dense(2 * hidden, hidden),
            cross_out=matrix(hidden, hidden),
        )  # fmt: skip
    return DecoderWeights(
        embeddings=dense(config.codebooks * (config.vocabulary + 1), hidden), positions=dense(positions, hidden),
        layers=(layer,), final_norm=norm, heads=dense(config.codebooks * config.vocabulary, hidden), project=None,
    )  # fmt: skip


def record_graphs(runner: ModelRunner, log: JsonLog) -> RecordedGraphs | None:
    """Record the runner's steps as CUDA graphs; return None on a CPU."""
    if runner.device.type != "cuda":
        return None
    with torch.cuda.device(runner.device):
        return runner.record_graphs(CudaRecorder(runner.device), log)
