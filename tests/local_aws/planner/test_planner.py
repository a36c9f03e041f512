"""The planner: figures that can be calculated by hand, its inputs, and its command line."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from local_aws.autoscaling.rules.controller import Minute
from local_aws.autoscaling.rules.scaling_config import ScalingConfig
from local_aws.autoscaling.rules.template import DeclaredEndpoint, Template, read_endpoint
from local_aws.autoscaling.simulator.traffic import Traffic
from local_aws.planner.plan import (
    Plan,
    Price,
    Scenario,
    estimate_work,
    format_full_instance,
    format_plan,
    load_price,
    make_plan,
    percentile,
    read_capacity,
    seconds_per_clip,
)
from local_aws.planner.timeline_chart import draw, format_timeline, sparkline

ROOT = Path(__file__).resolve().parents[3]
PRICE = Price(3.6, "us-east-1", "2026-11-23")  # a tenth of a cent a second
ENDPOINT = DeclaredEndpoint("e", "v", "ml.g5.2xlarge", 1, 2)
METRIC = {"Namespace": "AWS/SageMaker", "Dimensions": [{"Name": "EndpointName", "Value": "e"}]}


def scaling(*, minimum: int = 0, maximum: int = 1, wakes: bool = True) -> ScalingConfig:
    resource = "endpoint/e/variant/v"
    follow = {"CustomizedMetricSpecification": {**METRIC, "MetricName": "ApproximateBacklogSizePerInstance"}}
    follow["CustomizedMetricSpecification"]["Statistic"] = "Average"
    step = {"AdjustmentType": "ChangeInCapacity"}
    policies: list[dict[str, Any]] = [
        {
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 2, **follow},
        },
        {
            "PolicyType": "StepScaling",
            "StepScalingPolicyConfiguration": {
                **step,
                "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
            },
        },
    ]
    named = [
        {"PolicyARN": str(number), "PolicyName": str(number), "ResourceId": resource, **policy}
        for number, policy in enumerate(policies)
    ]
    alarm = {
        **METRIC,
        "AlarmName": "wake",
        "MetricName": "HasBacklogWithoutCapacity",
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 2,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "AlarmActions": ["1"] if wakes else [],
    }
    return ScalingConfig.of({"ResourceId": resource, "MinCapacity": minimum, "MaxCapacity": maximum}, named, [alarm])


def plan_for(
    pattern: str = "single", *, rate: float = 10, hours: float = 2, policies: ScalingConfig | None = None
) -> Plan:
    scenario = Scenario(pattern, Traffic(rate, hours, seed=3), 30.0, 50.0, 300.0)
    return make_plan(scenario, policies or scaling(), ENDPOINT, PRICE)


def test_single_clip_costs_startup_work_and_the_rest_of_its_minute() -> None:
    plan = plan_for()
    assert (plan.completed, plan.unanswered, plan.wakes, plan.peak) == (1, {}, 1, 1)
    # Two datapoints, 300 s of startup and 50 s of work; the instance ends with the minute of the last result.
    assert plan.p50 == plan.p95 == plan.longest
    assert 60 + 300 + 50 <= plan.longest <= 120 + 300 + 50
    assert plan.instance_hours * 3600 == pytest.approx(360)
    assert plan.usd == pytest.approx(0.36)
    assert plan.usd_per_clip == plan.usd
    assert plan.longer_usd == pytest.approx(0.36 + 0.9)
    assert plan.usd_per_month == pytest.approx(0.36 / 2 * 730)
    assert plan.busy_share == pytest.approx(50 / (2 * 360))
    assert plan.back_at_zero


def test_burst_runs_at_the_concurrency_of_an_instance() -> None:
    plan = plan_for("burst", rate=100, hours=1)
    assert plan.completed == 100
    assert plan.longest == pytest.approx(120 + 300 + 100 / 2 * 50, abs=30)


def test_more_instances_shorten_the_wait() -> None:
    slow, fast = (plan_for("burst", rate=100, hours=1, policies=scaling(maximum=maximum)) for maximum in (1, 4))
    assert fast.peak == 4
    assert fast.p95 < 0.6 * slow.p95


def test_cost_bound_is_all_instances_all_the_time() -> None:
    plan = plan_for("trickle", rate=6, hours=24)
    assert plan.usd < plan.longer_usd <= (plan.minutes[-1].at + 900) / 3600 * PRICE.usd_per_hour + 1e-9


def test_minimum_capacity_of_one_is_reported_as_permanent_cost() -> None:
    policies = scaling(minimum=1)
    plan = plan_for("single", policies=policies)
    assert not plan.back_at_zero
    scenario = Scenario("single", Traffic(10, 2), 30.0, 60.0, 300.0)
    assert "did not return to zero" in format_plan(plan, scenario, policies, ENDPOINT, PRICE)


def test_requests_expire_and_are_counted_without_a_wake_alarm() -> None:
    plan = plan_for("single", policies=scaling(wakes=False))
    assert plan.unanswered == {"Expired": 1}
    assert math.isnan(plan.usd_per_clip)


def test_same_scenario_gives_same_plan() -> None:
    assert plan_for("steady") == plan_for("steady")


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.75, 3), (0.95, 4), (1.0, 4), (0.0, 1)])
def test_percentiles_are_nearest_ranks(share: float, value: float) -> None:
    assert percentile([4, 1, 3, 2], share) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clip_seconds", 0.0),
        ("clip_seconds", math.nan),
        ("seconds_per_clip", 3601.0),
        ("startup_seconds", -1.0),
        ("startup_seconds", math.inf),
    ],
)
def test_scenario_values_are_limited(field: str, value: float) -> None:
    scenario = Scenario("single", Traffic(1, 1), 30.0, 60.0, 300.0)
    with pytest.raises(ValueError, match=f"{field} must be "):
        dataclasses.replace(scenario, **{field: value})


def response(folder: Path, name: str, work: float, durations: list[float]) -> Path:
    path = folder / name
    timings = {"generate_seconds": work - 0.5, "upload_seconds": 0.5}
    path.write_text(json.dumps({"contract": 1, "durations": durations, "timings": timings}))
    return path


def test_measured_work_is_proportional_to_the_music(tmp_path: Path) -> None:
    paths = [response(tmp_path, "a.out", 10.0, [5.0]), response(tmp_path, "b.out", 20.0, [5.0, 10.0])]
    assert seconds_per_clip(paths, 30.0) == pytest.approx(30 / 20 * 30)


@pytest.mark.parametrize("text", ["{}", "[]", '{"timings": {}, "durations": [1]}', "not json"])
def test_file_that_is_not_a_response_is_rejected(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.out"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"must hold|Expecting value"):
        seconds_per_clip([path], 30.0)


def test_response_without_music_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold some work and some music"):
        seconds_per_clip([response(tmp_path, "x.out", 1.0, [])], 30.0)


def test_prices_come_from_the_price_file() -> None:
    prices = json.loads((ROOT / "infra" / "config" / "prices.json").read_text())
    assert load_price("ml.g5.2xlarge") == Price(prices["usd_per_hour"]["ml.g5.2xlarge"], "us-east-1", prices["as_of"])
    with pytest.raises(ValueError, match=r"instance type must be one of .*, got ml.m5.large"):
        load_price("ml.m5.large")


@pytest.fixture
def minutes() -> list[Minute]:
    return [Minute(60.0 * n, backlog, count, count, {}, (), None) for n, backlog, count in ((1, 0, 0), (2, 8, 1))]


def test_chart_is_drawn_as_svg_and_png(minutes: list[Minute], tmp_path: Path) -> None:
    for name in ("plan.svg", "plan.png"):
        draw(minutes, tmp_path / "new" / name, "title")
    assert ElementTree.parse(tmp_path / "new" / "plan.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "new" / "plan.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"must end in .png or .svg, got plan.pdf"):
        draw(minutes, tmp_path / "plan.pdf", "title")


def test_timeline_is_formatted_with_block_characters(minutes: list[Minute]) -> None:
    assert format_timeline(minutes).splitlines() == [
        "backlog   | █| at most 8",
        "instances | █| at most 1",
        "          over 1 minutes of the controller's clock",
    ]
    assert sparkline([0, 1, 2, 4, 8], width=5) == " ▁▂▄█"
    assert len(sparkline(range(1000))) == 72
    assert sparkline([]) == ""


def run_planner(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "local_aws.planner", "--no-costs", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": "local", "PATH": ""}, timeout=60
    )


@pytest.fixture
def template_file(synthesised: dict[str, dict[str, Any]], tmp_path: Path) -> Path:
    path = tmp_path / "template.json"
    path.write_text(json.dumps(synthesised["one"]))
    return path


def test_command_plans_from_the_synthesised_template(template_file: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plan.svg"
    done = run_planner(
        *("--rate", "20", "--pattern", "burst", "--hours", "1"),
        *("--template", str(template_file), "--plot", str(plot)),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "requests    20: burst, 20 an hour for 1 h" in done.stdout
    assert "clip        30 s of music, 61.01 s of work" in done.stdout
    assert "0 to 1 x ml.g5.2xlarge, 11 requests at once on each" in done.stdout
    assert "full        $0.00233 a clip with 11 at once (61 s), $0.00424 a clip with 4 at once (40.3 s)" in done.stdout
    assert "estimated   the work" in done.stdout
    assert plot.is_file()


def test_work_is_estimated_for_the_templates_model_weights_instance_and_concurrency(
    synthesised: dict[str, dict[str, Any]],
) -> None:
    template = Template(synthesised["one"])
    endpoint = read_endpoint(template)
    capacity = read_capacity(template, endpoint)
    assert (capacity.model.model_id, capacity.instance_type) == ("facebook/musicgen-large", "ml.g5.2xlarge")
    assert (capacity.weights, endpoint.concurrency) == ("float16", capacity.derived_requests())
    assert estimate_work(capacity, 11, 5) == capacity.clip_seconds(clips=11, seconds=5)
    line = format_full_instance(capacity, endpoint, 5, PRICE)
    assert line.startswith(
        "full        $0.00052 a clip with 11 at once (5.71 s), $0.00128 a clip with 4 at once (5.12 s)"
    )
    with pytest.raises(ValueError, match="at most 30 to estimate the work, got 31; set --seconds-per-clip"):
        estimate_work(capacity, 11, 31)


@pytest.mark.parametrize("model_like", ["facebook/musicgen-large", "facebook/musicgen-melody-large"])
def test_work_of_a_custom_model_is_that_of_the_model_it_is_like(
    synthesised: dict[str, dict[str, Any]], model_like: str
) -> None:
    def staging(**properties: Any) -> Template:
        document = json.loads(json.dumps(synthesised["one"]))
        (staged,) = (item for item in document["Resources"].values() if item["Type"] == "Custom::StagedModel")
        staged["Properties"] |= properties
        return Template(document)

    templates = staging(ModelId="me/mine", Custom={"Like": model_like}), staging(ModelId=model_like)
    custom, like = (read_capacity(one, read_endpoint(one)) for one in templates)
    assert custom.model.model_id == "me/mine"
    assert estimate_work(custom, 11, 5) == estimate_work(like, 11, 5)


def test_template_without_a_staged_model_needs_the_work(synthesised: dict[str, dict[str, Any]]) -> None:
    resources = {
        name: resource
        for name, resource in synthesised["one"]["Resources"].items()
        if resource["Type"] != "Custom::StagedModel"
    }
    template = Template({"Resources": resources})
    with pytest.raises(ValueError, match=r"must name one served model, got .*; set --seconds-per-clip"):
        read_capacity(template, ENDPOINT)


@pytest.mark.parametrize("given", [["--seconds-per-clip", "50"], ["--seconds-per-clip", "50", "--clip-seconds", "300"]])
def test_given_work_replaces_the_estimate(template_file: Path, given: list[str]) -> None:
    done = run_planner("--rate", "2", "--hours", "1", "--template", str(template_file), *given)
    assert (done.returncode, done.stderr) == (0, "")
    assert ", 50 s of work" in done.stdout
    assert "full  " not in done.stdout and "estimated" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "0"], "rate x hours must be more than 0"),
        (["--rate", "nan"], "rate x hours must be more than 0"),
        (["--rate", "1", "--seconds-per-clip", "9999"], "seconds_per_clip must be 0.01 to 3600, got 9999"),
        (["--rate", "1", "--template", "nowhere.json"], "no template at nowhere.json; run `make synth` first"),
    ],
)
def test_command_rejects_invalid_input_in_one_sentence(template_file: Path, arguments: list[str], message: str) -> None:
    done = run_planner("--template", str(template_file), *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
