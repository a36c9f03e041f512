"""What the configured stack costs busy, idle and per clip, from the price table."""

from infra.config import Config
from infra.config.instances import PRICES, usd_per_hour

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


def _busy(config: Config, instance_type: str, price: float) -> str:
    estimated = " (an estimate: no table has the type)" if instance_type in PRICES["estimated"]["types"] else ""
    most = f"; up to ${price * config.max_capacity:.2f} with {config.max_capacity}" if config.max_capacity > 1 else ""
    return f"${price:.3f} per hour and instance{estimated}{most}"


def _clip(config: Config, instance_type: str, price: float | None) -> str:
    """Return price and seconds of a clip, alone on an instance and with as many others as it may have at once."""
    capacity, together, seconds = config.capacity(instance_type), config.concurrent_requests, config.clip_seconds
    alone, shared = (capacity.clip_seconds(clips=clips, seconds=seconds) for clips in (1, together))
    each, single = "", ""
    if price is not None:
        each, single = f", about ${price * shared / together / 3600:.4f} each", f", about ${price * alone / 3600:.4f}"
    return (
        f"{seconds} s of audio in {shared:.1f} s with {together} at once{each}, or in {alone:.1f} s alone{single}: "
        "estimates from bytes per step and half of the nominal memory bandwidth, not measured"
    )


def _idle(config: Config) -> str:
    storage = config.staged_bytes / 1e9 * _S3_USD_PER_GB_MONTH
    parts = [f"${storage:.2f} a month of S3 for the model", f"up to ${_ALARM_USD_PER_MONTH * _ALARMS:.2f} for alarms"]
    if config.encryption == "customer-managed":
        parts.append(f"${_KEY_USD_PER_MONTH:.2f} for the KMS key")
    monthly = 730 * (usd_per_hour(config.instance_type, region=config.region) or 0.0)
    never_idle = f"${monthly:.0f} a month for each instance that runs when scaling is turned off"
    instances = "$0 for instances" if config.scaling == "on" else never_idle
    return f"{instances}; {', '.join(parts)}"
