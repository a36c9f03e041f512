"""Changes that raise the cost, and changes that take two deployments."""

from tests.stack_gate.mutants.registry import FOLLOW, STAGED, TARGET, mutant, variant
from tests.stack_gate.mutants.stacks import Draft

# cost


@mutant("money")
def more_instances_at_once(draft: Draft) -> None:
    draft.properties(TARGET)["MaxCapacity"] = 10


@mutant("money", "service")
def nothing_scales_in(draft: Draft) -> None:
    draft.remove(FOLLOW)


@mutant("money")
def scaling_in_is_disabled(draft: Draft) -> None:
    draft.properties(FOLLOW)["TargetTrackingScalingPolicyConfiguration"]["DisableScaleIn"] = True


@mutant("money")
def scaling_is_suspended(draft: Draft) -> None:
    draft.properties(TARGET)["SuspendedState"] = {"DynamicScalingInSuspended": True}


@mutant("money")
def schedule_starts_instances(draft: Draft) -> None:
    action = {"ScheduledActionName": "day", "Schedule": "cron(0 8 * * ? *)", "ScalableTargetAction": {"MinCapacity": 2}}
    draft.properties(TARGET)["ScheduledActions"] = [action]


@mutant("money")
def scaling_follows_a_metric_without_data(draft: Draft) -> None:
    metric = draft.properties(FOLLOW)["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
    metric["Dimensions"].append({"Name": "VariantName", "Value": "AllTraffic"})


@mutant("money")
def every_deployment_starts_four(draft: Draft) -> None:
    variant(draft)["InitialInstanceCount"] = 4


@mutant("money", "two-phase", "service")
def scaling_is_removed(draft: Draft) -> None:
    for path in (FOLLOW, "ScaleToZero/WakeFromZero", TARGET):
        draft.remove(path)
    variant(draft)["InstanceType"] = "ml.g6.xlarge"


@mutant("money", "two-phase")
def instance_without_a_price(draft: Draft) -> None:
    variant(draft)["InstanceType"] = "ml.p5.48xlarge"


# two deployments


@mutant("two-phase")
def cheaper_instance_type(draft: Draft) -> None:
    variant(draft)["InstanceType"] = "ml.g6.xlarge"


@mutant("two-phase")
def variant_is_renamed(draft: Draft) -> None:
    variant(draft)["VariantName"] = "Blue"
    draft.properties(TARGET)["ResourceId"] = "endpoint/musicgen-dev/variant/Blue"


@mutant("two-phase")
def staging_moves_to_another_function(draft: Draft) -> None:
    other = {"Fn::GetAtt": [draft.id("Custom::S3AutoDeleteObjectsCustomResourceProvider/Handler"), "Arn"]}
    draft.properties(STAGED)["ServiceToken"] = other


@mutant("two-phase")
def scalable_target_moves_to_another_logical_id(draft: Draft) -> None:
    draft.rename(TARGET, "ScaleToZeroMoved")


@mutant("two-phase")
def new_models_start_on_every_instance_at_once(draft: Draft) -> None:
    draft.properties("AsyncEndpoint/Endpoint")["RetainAllVariantProperties"] = True
