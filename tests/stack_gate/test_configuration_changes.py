"""What people change in cdk.json, through the real constructs: each setting needs the labels that it should."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from stack_gate.comparison import Comparison
from stack_gate.template import Stack
from tests.stack_gate.mutants.stacks import synthesise

Judge = Callable[[Sequence[tuple[Stack, Stack]]], list[Comparison]]

CHAIN = ["AsyncEndpoint/Model", "AsyncEndpoint/Config", "AsyncEndpoint/Endpoint"]
CASES: list[tuple[dict[str, Any], set[str]]] = [
    ({"tags": "team=music,cost=1"}, set()),
    ({"notification_emails": "a@example.com"}, set()),
    ({"alarm_queue_age_seconds": 60}, set()),
    ({"log_retention_days": 90}, set()),
    ({"output_retention_days": 60}, set()),
    ({"max_concurrent_requests": 2}, set()),
    ({"target_backlog_per_instance": 8}, set()),
    ({"provision_timeout_seconds": 600}, set()),
    ({"model_id": "facebook/musicgen-small"}, set()),
    ({"log_retention_days": 7}, {"retention"}),
    ({"output_retention_days": 3}, {"retention"}),
    ({"removal_policy": "retain"}, {"retention"}),
    ({"max_capacity": 3}, {"money"}),
    ({"external_buckets": "elsewhere"}, {"broaden"}),
    ({"endpoint_name": "music"}, {"replace"}),
    ({"instance_type": "ml.g6.2xlarge"}, {"two-phase"}),
    ({"instance_type": "ml.g6e.xlarge"}, {"two-phase", "money"}),
    ({"hub_endpoint": "https://mirror.example"}, {"exposure"}),
    ({"hub_endpoint": "s3://mirror/hub"}, {"exposure", "broaden"}),
    ({"packaging": "uncompressed"}, {"broaden"}),
    ({"token_secret_arn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:hub-AbCdEf"}, {"broaden"}),
]


@pytest.fixture(scope="module")
def verdicts(base: Stack, judged: Judge, tmp_path_factory: pytest.TempPathFactory) -> list[Comparison]:
    """The gate's answer to every case, in order."""
    heads = [synthesise(tmp_path_factory.mktemp("assembly"), **overrides) for overrides, _ in CASES]
    return judged([(base, head) for head in heads])


@pytest.mark.parametrize("index", range(len(CASES)), ids=[str(overrides) for overrides, _ in CASES])
def test_setting_needs_exactly_its_labels(index: int, verdicts: list[Comparison]) -> None:
    found = verdicts[index].findings

    assert {finding.class_name for finding in found} == CASES[index][1], found


def test_another_model_is_followed_to_the_endpoint(verdicts: list[Comparison]) -> None:
    index = next(index for index, (overrides, _) in enumerate(CASES) if "model_id" in overrides)

    assert ["StagedModel", *CHAIN] in verdicts[index].redeploys


def test_another_packaging_is_followed_from_the_staged_model_to_the_endpoint(verdicts: list[Comparison]) -> None:
    index = next(index for index, (overrides, _) in enumerate(CASES) if "packaging" in overrides)

    assert ["StagedModel", *CHAIN] in verdicts[index].redeploys


def test_another_environment_of_the_container_is_followed_to_the_endpoint(verdicts: list[Comparison]) -> None:
    index = next(index for index, (overrides, _) in enumerate(CASES) if "max_concurrent_requests" in overrides)

    assert [chain[-3:] for chain in verdicts[index].redeploys] == [CHAIN]


def test_costs_are_the_price_times_the_least_and_the_most(verdicts: list[Comparison]) -> None:
    index = next(index for index, (overrides, _) in enumerate(CASES) if "max_capacity" in overrides)
    before, after = verdicts[index].before, verdicts[index].after

    assert before is not None
    assert after is not None
    assert (before.idle, before.peak) == pytest.approx((0, 1.515))
    assert (after.idle, after.peak) == pytest.approx((0, 4.545))


def test_moving_to_another_region_is_a_replacement(base: Stack, judged: Judge, tmp_path: Path) -> None:
    (verdict,) = judged([(base, synthesise(tmp_path, region="eu-west-1"))])

    assert "MusicGen-dev us-east-1 → MusicGen-dev eu-west-1" in {finding.what for finding in verdict.findings}
