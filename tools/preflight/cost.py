"""What the configured stack costs busy, idle and per clip, from the price table."""

from infra.config import Config
from infra.config.instances import INSTANCE_TYPES, PRICES, has_gpu, usd_per_hour
from infra.config.models import Model

CLIP_SECONDS = 30
_STEPS = 1503  # tokens of a 30 s clip at 50 a second, and three for the delay pattern
_CODEBOOKS, _VOCABULARY, _FFN = 4, 2048, 4  # the same in every MusicGen; _FFN in units of the hidden size
_ROWS = 2  # classifier-free guidance
_HALF = 2  # bytes of a float16

# Memory bandwidth in bytes per second, from NVIDIA's data sheets.
_BANDWIDTH = {"NVIDIA A10G": 600e9, "NVIDIA L4": 300e9, "NVIDIA L40S": 864e9}

# us-east-1, from AWS's public pages: S3 Standard, CloudWatch alarms beyond the first ten, one KMS key.
_S3_USD_PER_GB_MONTH = 0.023
_ALARM_USD_PER_MONTH, _ALARMS = 0.10, 7
_KEY_USD_PER_MONTH = 1.0


def cost_lines(config: Config) -> list[tuple[str, str]]:
    """Return (label, text) of each price; no prices if the table is for another region."""
    if config.region != PRICES["region"]:
        page = "https://aws.amazon.com/sagemaker/ai/pricing/"
        text = f"the table has {PRICES['region']} only, and the stack goes to {config.region}: see {page}"
        return [("prices", text), *((f"clip, {name}", _clip(config, name, None)) for name in config.instance_types)]
    lines = [("prices", f"{PRICES['region']}, {PRICES['as_of']}, {PRICES['source'].partition(';')[0]}")]
    for instance_type in config.instance_types:
        price = usd_per_hour(instance_type, region=config.region) or 0.0
        lines.append((f"busy, {instance_type}", _busy(config, instance_type, price)))
        lines.append((f"clip, {instance_type}", _clip(config, instance_type, price)))
    return [*lines, ("idle", _idle(config))]


def seconds_per_clip(model: Model, bandwidth: float, *, eight_bit: bool) -> float:
    """Return the seconds that a 30 s clip takes if nothing but reading the GPU's memory took time, at batch size 1.

    Each step reads the decoder's weights once, and the key-value cache as far as it has grown.
    """
    hidden = model.hidden_size
    matrices = (6 + 2 * _FFN) * hidden * hidden  # qkv, out, cross query, cross out; in and out
    outputs = (7 + _FFN) * hidden  # one scale of four bytes each, where weights have 8 bits
    layer = matrices + 4 * outputs if eight_bit else _HALF * matrices
    norms = 3 * 2 * hidden * _HALF
    heads = _CODEBOOKS * _VOCABULARY * hidden * _HALF
    weights = model.layers * (layer + norms) + 2 * hidden * _HALF + heads
    cache = _ROWS * 2 * model.layers * hidden * _HALF * (_STEPS + 1) / 2
    return _STEPS * (weights + cache) / bandwidth


def _busy(config: Config, instance_type: str, price: float) -> str:
    estimated = " (an estimate: no table has the type)" if instance_type in PRICES["estimated"]["types"] else ""
    most = f"; up to ${price * config.max_capacity:.2f} with {config.max_capacity}" if config.max_capacity > 1 else ""
    return f"${price:.3f} per hour and instance{estimated}{most}"


def _clip(config: Config, instance_type: str, price: float | None) -> str:
    seconds = _estimate(config, instance_type)
    dollars = "" if price is None else f"about ${price * seconds / 3600:.4f}, "
    return (
        f"{dollars}{seconds:.1f} s for {CLIP_SECONDS} s of audio at batch size 1: an estimate from bytes per step and "
        "nominal memory bandwidth, not measured"
    )


def _estimate(config: Config, instance_type: str) -> float:
    if not has_gpu(instance_type):
        return config.model.cpu_clip_seconds(instance_type, seconds=CLIP_SECONDS)
    bandwidth = _BANDWIDTH[INSTANCE_TYPES[instance_type]["gpu"]]
    return seconds_per_clip(config.model, bandwidth, eight_bit=config.weight_quantisation == "int8")


def _idle(config: Config) -> str:
    storage = config.staged_bytes / 1e9 * _S3_USD_PER_GB_MONTH
    parts = [f"${storage:.2f} a month of S3 for the model", f"up to ${_ALARM_USD_PER_MONTH * _ALARMS:.2f} for alarms"]
    if config.encryption == "customer-managed":
        parts.append(f"${_KEY_USD_PER_MONTH:.2f} for the KMS key")
    monthly = 730 * (usd_per_hour(config.instance_type, region=config.region) or 0.0)
    never_idle = f"${monthly:.0f} a month for each instance that runs when scaling is turned off"
    instances = "$0 for instances" if config.scaling == "on" else never_idle
    return f"{instances}; {', '.join(parts)}"
