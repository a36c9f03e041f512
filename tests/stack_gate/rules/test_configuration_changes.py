"""Changes of settings in cdk.json, through the real constructs: each needs exactly its labels."""

from pathlib import Path
from typing import Any

import pytest

from stack_gate.report.report import Comparison
from stack_gate.template import Stack
from tests.stack_gate.mutants.stacks import Compare, synthesise

CHAIN = ["AsyncEndpoint/Model", "AsyncEndpoint/Config", "AsyncEndpoint/Endpoint"]
CASES: list[tuple[dict[str, Any], set[str]]] = [
    ({"tags": "team=music,cost=1"}, set()),
    ({"alarm_emails": "a@example.com"}, set()),
    ({"alarm_queue_age_seconds": 60}, set()),
    ({"log_retention_days": 90}, set()),
    ({"output_retention_days": 60}, set()),
    ({"max_concurrent_requests": 2, "target_backlog_per_instance": 11}, {"service"}),
    ({"max_concurrent_requests": 2}, {"money", "service"}),  # the target follows, and adds instances sooner
    ({"target_backlog_per_instance": 8}, {"money"}),
    ({"target_backlog_per_instance": 20}, set()),
    ({"clip_seconds": 5}, {"service"}),
    ({"provision_timeout_seconds": 600}, {"service"}),
    ({"model_id": "facebook/musicgen-small"}, {"service"}),
    ({"model_id": "me/mine", "model_like": "facebook/musicgen-large", "revision": "a" * 40}, {"exposure"}),
    ({"log_retention_days": 7}, {"retention"}),
    ({"output_retention_days": 3}, {"retention"}),
    ({"removal_policy": "retain"}, {"retention"}),
    ({"max_capacity": 3}, {"money"}),
    ({"external_buckets": "elsewhere"}, {"broaden", "lint"}),
    ({"endpoint_name": "music"}, {"replace", "lint"}),
    ({"instance_type": "ml.g6.2xlarge"}, {"two-phase"}),
    ({"instance_type": "ml.g6e.xlarge"}, {"two-phase", "money", "service"}),
    ({"hub_endpoint": "https://mirror.example"}, {"exposure"}),
    ({"hub_endpoint": "s3://mirror/hub"}, {"exposure", "broaden", "lint"}),
    ({"packaging": "uncompressed"}, {"broaden"}),
    ({"token_secret_arn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:hub-AbCdEf"}, {"broaden"}),
]


@pytest.fixture(scope="module")
def comparisons(base: Stack, compare_stacks: Compare, tmp_path_factory: pytest.TempPathFactory) -> list[Comparison]:
    """The comparison for every case, in order."""
    heads = [synthesise(tmp_path_factory.mktemp("assembly"), **overrides) for overrides, _ in CASES]
    return compare_stacks([(base, head) for head in heads])


@pytest.mark.parametrize("index", range(len(CASES)), ids=[str(overrides) for overrides, _ in CASES])
def test_setting_needs_exactly_its_labels(index: int, comparisons: list[Comparison]) -> None:
    found = comparisons[index].findings

    assert {finding.class_name for finding in found} == CASES[index][1], found


def test_model_change_redeploys_the_endpoint(comparisons: list[Comparison]) -> None:
    index = next(index for index, (overrides, _) in enumerate(CASES) if "model_id" in overrides)

    assert ["StagedModel", *CHAIN] in comparisons[index].redeploys


def test_packaging_change_redeploys_the_endpoint_from_the_staged_model(comparisons: list[Comparison]) -> None:
    index = next(index for index, (overrides, _) in enumerate(CASES) if "packaging" in overrides)

    assert ["StagedModel", *CHAIN] in comparisons[index].redeploys


def test_container_environment_change_redeploys_the_endpoint(comparisons: list[Comparison]) -> None:
    index = next(index for index, (overrides, _) in enumerate(CASES) if "max_concurrent_requests" in overrides)

    assert [chain[-3:] for chain in comparisons[index].redeploys] == [CHAIN]


def test_costs_are_the_price_times_idle_and_peak_instances(comparisons: list[Comparison]) -> None:
    index = next(index for index, (overrides, _) in enumerate(CASES) if "max_capacity" in overrides)
    before, after = comparisons[index].before, comparisons[index].after

    assert before is not None
    assert after is not None
    assert (before.idle, before.peak) == pytest.approx((0, 1.515))
    assert (after.idle, after.peak) == pytest.approx((0, 4.545))


def test_moving_to_another_region_is_a_replacement(base: Stack, compare_stacks: Compare, tmp_path: Path) -> None:
    (comparison,) = compare_stacks([(base, synthesise(tmp_path, region="eu-west-1"))])

    assert "MusicGen-dev us-east-1 → MusicGen-dev eu-west-1" in {finding.what for finding in comparison.findings}
