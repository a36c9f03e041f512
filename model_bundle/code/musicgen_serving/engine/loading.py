"""From a checkpoint's files to what makes clips on a device, with the time that each part of it took."""

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import MusicgenConfig

from musicgen_serving.engine.acceleration import compile_kernels, kernel_step, record
from musicgen_serving.engine.codec import Codec
from musicgen_serving.engine.decode_loop import DecodeLoop
from musicgen_serving.engine.decoder_config import DecoderConfig, decoder_config, read_config
from musicgen_serving.engine.decoder_weights import DecoderWeights, load_decoder
from musicgen_serving.engine.memory import free_bytes, slots_that_fit
from musicgen_serving.engine.sampling_params import MAX_NEW_TOKENS
from musicgen_serving.engine.slots import allocate, bytes_per_slot
from musicgen_serving.engine.text_encoder import TextEncoder
from musicgen_serving.engine.torch_step import Advance
from musicgen_serving.engine.weight_files import WeightFiles
from musicgen_serving.json_log import JsonLog

MAX_TEXT_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class WeightFormat:
    """How the decoder's weights are kept, on a GPU; a CPU has float32 throughout."""

    dtype: str = "float16"
    eight_bit: bool = False


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What makes clips."""

    text_encoder: TextEncoder
    codec: Codec
    loop: DecodeLoop


class StartUp:
    """Seconds and counts of starting up, for one line of the log."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.line: dict[str, float | int | str] = {}

    @contextmanager
    def timed(self, name: str) -> Generator[None]:
        """Note how long a part takes."""
        started = time.monotonic()
        yield
        self.line[f"{name}_seconds"] = round(time.monotonic() - started, 3)

    def write(self, log: JsonLog, device: torch.device) -> None:
        """The line, with the time since the beginning."""
        log.write("loaded", seconds=round(time.monotonic() - self._started, 3), **self.line, device=str(device))


def assemble(
    folder: Path, device: torch.device, weight_format: WeightFormat, slots: int, start_up: StartUp, log: JsonLog
) -> Parts:
    """Load everything; while the decoder's weights are read, the kernels are compiled and the rest is made.

    ValueError for a checkpoint that cannot be served, or whose slots do not fit.
    """
    sizes, on_gpu = decoder_config(read_config(folder)), device.type == "cuda"
    dtype = torch.float16 if weight_format.dtype == "float16" and on_gpu else torch.float32
    eight_bit = weight_format.eight_bit and on_gpu
    config = MusicgenConfig.from_pretrained(folder, local_files_only=True)  # pyright: ignore[reportUnknownMemberType]

    def read_decoder() -> DecoderWeights:
        with start_up.timed("decoder"):
            return load_decoder(files, sizes, device, dtype, MAX_NEW_TOKENS, eight_bit=eight_bit)

    def prepare_kernels() -> bool:
        with start_up.timed("compile"):
            return compile_kernels(
                sizes, slots, MAX_NEW_TOKENS, MAX_TEXT_TOKENS, device, dtype, eight_bit=eight_bit, log=log
            )

    with WeightFiles(folder, device) as files, ThreadPoolExecutor(2) as meanwhile:
        kernels = meanwhile.submit(prepare_kernels) if on_gpu else None
        decoder = meanwhile.submit(read_decoder)
        with start_up.timed("text_encoder"):
            text_encoder = TextEncoder(folder, config, files, device)
        with start_up.timed("codec"):
            codec = Codec(config, files, sizes.channels, device)
        weights = decoder.result()
        start_up.line |= files.speed()
        step = kernel_step(sizes, weights, MAX_NEW_TOKENS, log) if kernels is not None and kernels.result() else None
    loop = _loop(sizes, weights, step, device, slots, start_up, log)
    return Parts(text_encoder=text_encoder, codec=codec, loop=loop)


def _loop(
    sizes: DecoderConfig, weights: DecoderWeights, step: Advance | None, device: torch.device, slots: int,
    start_up: StartUp, log: JsonLog,
) -> DecodeLoop:  # fmt: skip
    """As many slots as fit up to `slots`, and steps over them as fast as the device can."""
    dtype = weights.heads.dtype
    slot_bytes = bytes_per_slot(sizes, MAX_NEW_TOKENS, MAX_TEXT_TOKENS, dtype)
    count = slots_that_fit(slots, slot_bytes, free_bytes(device))
    own = allocate(sizes, count, MAX_NEW_TOKENS, MAX_TEXT_TOKENS, device, dtype)
    loop = DecodeLoop(sizes, weights, own, step)
    start_up.line["slots"] = count
    if recorded := record(loop, log):
        start_up.line |= {"graphs": recorded.graphs, "graphs_of": recorded.of}
        start_up.line["graph_seconds"] = round(recorded.seconds, 3)
    return loop
