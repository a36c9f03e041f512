"""What a clip would cost on the instance types that the stack knows: an estimate, scaled from the device measured."""

import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.device import nominal

INFRA = Path(__file__).parents[2] / "infra"


def table(name: str) -> dict[str, Any]:
    """One of the stack's tables."""
    return json.loads((INFRA / f"{name}.json").read_text(encoding="utf-8"))


def costs(clips_per_second: float, measured_on: str) -> dict[str, Any]:
    """Dollars for a clip on each priced type, if that GPU comes as near to its nominal bandwidth as this one did.

    Steps are bound by memory, so time scales with bandwidth; where a smaller card is bound by anything else, or holds
    fewer clips at once, it is slower than this says.
    """
    own = nominal(measured_on)
    if own is None:
        return {"failed": f"the nominal bandwidth of {measured_on} must be known (benchmarks/gpu/device.py), got none"}
    prices, types = table("prices"), table("instances")["types"]
    found: dict[str, Any] = {}
    for name, price in prices["usd_per_hour"].items():
        other = nominal(types[name]["gpu"])
        if other is not None:
            rate = clips_per_second * other / own
            found[name] = {"clips_per_second": rate, "usd_per_clip": price / 3600 / rate}
    return {"estimate": True, "prices_as_of": prices["as_of"], "region": prices["region"], "types": found}
