"""Let the walkthrough's endpoint have one instance at least, in the shell that `make local` explains."""

# pyright: reportUnknownMemberType=false
# boto3's stubs cover only some services.

from typing import Any

import boto3

scaling: Any = boto3.client("application-autoscaling")
(target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
identity = {name: target[name] for name in ("ServiceNamespace", "ResourceId", "ScalableDimension")}
scaling.register_scalable_target(**identity, MinCapacity=1)
