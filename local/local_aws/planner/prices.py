"""What an instance costs: the project's price file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRICES = Path(__file__).parents[3] / "infra" / "config" / "prices.json"


@dataclass(frozen=True)
class Price:
    """US dollars for an hour of one instance, and where the figure is from."""

    usd_per_hour: float
    region: str
    as_of: str


def price_of(instance_type: str, path: Path = PRICES) -> Price:
    """The price of `instance_type`; ValueError where the file has none."""
    prices: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    known: dict[str, float] = prices["usd_per_hour"]
    if instance_type not in known:
        raise ValueError(f"instance type must be one of {', '.join(known)} ({path.name}), got {instance_type}")
    return Price(known[instance_type], prices["region"], prices["as_of"])
