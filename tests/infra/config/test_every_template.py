"""Every model on every instance type in every region.

There are over a thousand of these templates, at half a second each. So one is synthesised for every region and device,
and one for every model and instance type; a sample of the others shows that a template is the first of these with what
differs in the second, and nothing else.
"""

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from infra.config import from_context
from infra.config.images import REGISTRY_ACCOUNTS, image_uri
from infra.config.instances import INSTANCE_TYPES, has_gpu
from infra.config.models import SERVED_MODELS, find_model
from tests.infra.templates import Synthesise, lint, properties

LARGE, MEDIUM = "facebook/musicgen-large", "facebook/musicgen-medium"
SERVED = list(itertools.product(SERVED_MODELS, INSTANCE_TYPES))  # all of them, with the derived number of requests
BASES = {"cuda": (LARGE, "ml.g5.2xlarge"), "cpu": (MEDIUM, "ml.c7i.4xlarge")}
SAMPLE = random.Random(16).sample(list(itertools.product(SERVED, REGISTRY_ACCOUNTS)), 10)
FAMILIES = {  # one type of each family, in several partitions
    "ml.g5.2xlarge": "cn-north-1",
    "ml.g6.xlarge": "us-east-1",
    "ml.g6e.xlarge": "us-west-2",
    "ml.c7i.4xlarge": "us-gov-west-1",
    "ml.m7i.4xlarge": "eu-west-1",
    "ml.c6i.4xlarge": "us-iso-east-1",
}

Leaves = dict[tuple[str | int, ...], Any]


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the path and value of each scalar of a template, without the price, which only one region has."""
    if path == ("Outputs", "InstancePricePerHourUsd"):
        return
    if isinstance(value, dict | list):
        items = cast(dict[str, Any], value).items() if isinstance(value, dict) else enumerate(cast(list[Any], value))
        for key, item in items:
            yield from leaves(item, (*path, key))
    else:
        yield path, value


def commit_of(model_id: str) -> dict[str, str]:
    """Return the setting that a model without a confirmed commit needs."""
    return {} if find_model(model_id).revision else {"revision": "0" * 40}


def template(synthesise: Synthesise, pair: tuple[str, str], region: str) -> Leaves:
    given = {"model_id": pair[0], "instance_type": pair[1], "region": region, **commit_of(pair[0])}
    return dict(leaves(synthesise(**given).to_json()))


def composed(in_region: Leaves, base: Leaves, own: Leaves) -> Leaves:
    """Return `in_region` with what differs between `base` and `own`."""
    changed = {path: value for path, value in own.items() if path not in base or base[path] != value}
    removed = base.keys() - own.keys()
    return {path: value for path, value in in_region.items() if path not in removed} | changed


@pytest.mark.parametrize("region", REGISTRY_ACCOUNTS)
@pytest.mark.parametrize("device", BASES)
def test_template_synthesises_in_every_region_with_its_image(synthesise: Synthesise, region: str, device: str) -> None:
    model_id, instance_type = BASES[device]
    found = synthesise(model_id=model_id, instance_type=instance_type, region=region)
    assert properties(found, "AWS::SageMaker::Model")["PrimaryContainer"]["Image"] == image_uri(region, device)


@pytest.mark.parametrize(("model_id", "instance_type"), SERVED)
def test_template_synthesises_for_every_model_and_instance_type(
    synthesise: Synthesise, model_id: str, instance_type: str
) -> None:
    found = synthesise(model_id=model_id, instance_type=instance_type, **commit_of(model_id))
    (variant,) = properties(found, "AWS::SageMaker::EndpointConfig")["ProductionVariants"]
    assert variant["InstanceType"] == instance_type
    assert ("InferenceAmiVersion" in variant) == has_gpu(instance_type)
    assert properties(found, "Custom::StagedModel")["ModelId"] == model_id


@pytest.mark.parametrize(("pair", "region"), SAMPLE)
def test_region_and_model_change_different_parts_of_the_template(
    synthesise: Synthesise, pair: tuple[str, str], region: str
) -> None:
    base = BASES["cuda" if has_gpu(pair[1]) else "cpu"]
    in_region, first = template(synthesise, base, region), template(synthesise, base, "us-east-1")
    own = template(synthesise, pair, "us-east-1")
    assert template(synthesise, pair, region) == composed(in_region, first, own)


def test_every_combination_is_accepted(cdk_context: dict[str, Any]) -> None:
    for model_id, instance_type in SERVED:
        for region in REGISTRY_ACCOUNTS:
            given = {"model_id": model_id, "instance_type": instance_type, "region": region, **commit_of(model_id)}
            given = {**cdk_context, **given}
            assert from_context(given).region == region


def test_cfn_lint_accepts_a_template_of_every_family_and_partition(
    synthesise: Synthesise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for instance_type, region in FAMILIES.items():
        found = synthesise(model_id=MEDIUM, instance_type=instance_type, region=region)
        path = tmp_path / f"{instance_type}-{region}.template.json"
        path.write_text(json.dumps(found.to_json()), encoding="utf-8")
    files = list(tmp_path.iterdir())
    assert len(files) == len(FAMILIES) and lint(files, monkeypatch) == []
