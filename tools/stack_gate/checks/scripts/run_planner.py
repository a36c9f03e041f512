"""Plan every template of the current folder under `load.json`: see children.py for the files."""

import json
import math
import sys
from pathlib import Path
from typing import Any

from local_aws.autoscaling.rules.template import Template, read_endpoint, read_scaling
from local_aws.autoscaling.simulator.traffic import Traffic
from local_aws.planner.plan import Scenario, estimate_work, load_price, make_plan, read_capacity


def plan(template: dict[str, Any], load: dict[str, Any]) -> dict[str, Any]:
    """Return USD a month, p50 and p95 in seconds, and how many requests got no result, or why there is no plan."""
    try:
        read = Template(template)
        scaling, endpoint = read_scaling(read), read_endpoint(read)
        work = estimate_work(read_capacity(read, endpoint), endpoint.concurrency, load["clip_seconds"])
        traffic = Traffic(load["rate"], load["hours"])
        scenario = Scenario(load["pattern"], traffic, load["clip_seconds"], work, load["startup_seconds"])
        made = make_plan(scenario, scaling, endpoint, load_price(endpoint.instance_type))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    times = {name: None if math.isnan(seconds) else seconds for name, seconds in (("p50", made.p50), ("p95", made.p95))}
    return {"usd_per_month": made.usd_per_month, "unanswered": sum(made.unanswered.values()), **times}


def main() -> None:
    load = json.loads(Path("load.json").read_text(encoding="utf-8"))
    for path in Path().glob("*.template.json"):
        answer = plan(json.loads(path.read_text(encoding="utf-8")), load)
        number = path.name.partition(".")[0]
        (Path(sys.argv[1]) / f"{number}.json").write_text(json.dumps(answer), encoding="utf-8")


main()
