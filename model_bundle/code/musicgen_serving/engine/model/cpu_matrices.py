"""Weight matrices packed for a CPU's own kernels: float32 by oneDNN, 16 and 8 bits by FBGEMM, which come with torch.

A decode step reads every weight once for a few rows, so a CPU is bound by reading too: half the bytes, half the time.
Every kind rounds a row the same whatever its neighbours, so a clip has the same codes alone and in a batch. Products
accumulate in float32, or exactly in 32-bit integers. All operators are in torch 2.6 and 2.13.
"""

import warnings
from functools import cache

import torch

from musicgen_serving.engine.model.quantisation import MAX_LEVEL, UNPACKED, PackedMatrix, Packing, row_scales
from musicgen_serving.json_log import JsonLog

# torch 2.13 deprecates quantised tensors, but FBGEMM packs nothing else. Not within a function: catch_warnings would
# restore the filters of a moment ago under other threads.
warnings.filterwarnings("ignore", "torch.quantize_per_tensor, .* quantized tensor creation functions", UserWarning)
SMALLEST = 1e-30  # of a row's magnitude, so that a row of zeros is not divided by zero


class Float32Matrix(PackedMatrix):
    """A weight in float32, in the blocks that oneDNN multiplies."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(weight)
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.float(), None)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, None, "none", [], "")


class Float16Matrix(PackedMatrix):
    """A weight in float16, widened in registers as it is read; exact for the weights that Meta published."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(weight)
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight.float(), None)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.quantized.linear_dynamic_fp16(x, self._packed)


class Int8Matrix(PackedMatrix):
    """A weight in 8 bits with a scale for each output, times rows in 8 bits with a scale for each row.

    `quantized.linear_dynamic` would share one scale among all rows: clips would change each other, and a row a hundred
    times smaller than its neighbour would lose most of its value.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(weight)
        self._levels = max_input_level()
        self._packed = pack_int8(weight)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        scale = x.abs().amax(1, keepdim=True).clamp_min_(SMALLEST)
        return product_int8(x / scale, self._packed, self._levels).mul_(scale)


def pack_int8(weight: torch.Tensor) -> torch.ScriptObject:
    zeros = torch.zeros(len(weight), dtype=torch.long)
    tensor = torch.quantize_per_channel(weight.float(), row_scales(weight).double(), zeros, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(tensor, None)


def product_int8(x: torch.Tensor, packed: torch.ScriptObject, levels: int) -> torch.Tensor:
    """Multiply rows in [-1, 1], rounded to levels -`levels` … `levels` around a zero point of one more."""
    return torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(x, 1 / levels, levels + 1, packed)


@cache
def max_input_level() -> int:
    """Return the largest level of an input: 127, or 63 on a processor whose 8-bit products would saturate.

    Without VNNI, FBGEMM adds pairs of products in 16 bits, which hold 2 * 127 * 127 but not 2 * 255 * 127.
    """
    width, x = 64, torch.ones(1, 64)
    exact = torch.full((1, 16), float(width))
    got = product_int8(x, pack_int8(torch.ones(16, width)), MAX_LEVEL)
    return MAX_LEVEL if torch.allclose(got, exact, rtol=1e-3) else MAX_LEVEL // 2


PACKINGS = {
    "float32": Packing(Float32Matrix),
    "float16": Packing(Float16Matrix),
    "int8": Packing(Int8Matrix, {"ffn_out": Float16Matrix, "cross_kv": Float16Matrix, "heads": Float16Matrix}),
}
"""In 8 bits the second feed-forward product would lose most: GELU's outputs are hardly ever below zero, so half of the
levels would be unused. It stays in 16 bits, so that small's logits are off by less than 2 % (docs/engine.md)."""


def has_fbgemm() -> bool:
    return "fbgemm" in torch.backends.quantized.supported_engines


def cpu_packing(name: str, log: JsonLog) -> tuple[str, Packing]:
    """Return how a CPU keeps the decoder's matrices in float32, float16 or int8, and which of these it is.

    FBGEMM is for x86. Elsewhere float16 becomes float32, with a log line, and int8 raises ValueError: it is lossy, and
    asked for to save time, which nothing else here does.
    """
    if name != "float32" and not has_fbgemm():
        if name == "int8":
            raise ValueError(
                "weight_quantisation int8 needs torch's FBGEMM kernels on a CPU, and this build has none: set "
                "MUSICGEN_WEIGHT_QUANTISATION to none"
            )
        log.write("float16_unavailable", reason="this build of torch has no FBGEMM kernels", instead="float32")
        name = "float32"
    if name == "float32" and not torch.backends.mkldnn.is_available():
        return name, UNPACKED
    return name, PACKINGS[name]
