"""Changes that destroy, replace or change retention, and twelve that a plain differ was measured on."""

from tests.stack_gate.mutants.registry import (
    EMPTIER,
    FOLLOW,
    IN,
    OUT,
    OUT_POLICY,
    ROLE,
    ROLE_POLICY,
    STAGE_FUNCTION,
    TARGET,
    deny_of,
    mutant,
    rules_of,
    variant,
)
from tests.stack_gate.mutants.stacks import Draft

# twelve that a plain differ was measured on


@mutant("broaden")
def role_may_do_anything_in_s3(draft: Draft) -> None:
    draft.statements(ROLE_POLICY).append({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})


@mutant("broaden", "exposure")
def anyone_may_assume_the_role(draft: Draft) -> None:
    draft.trust(ROLE)["Principal"] = {"AWS": "*"}


@mutant("broaden")
def role_gets_administrator_access(draft: Draft) -> None:
    draft.properties(ROLE)["ManagedPolicyArns"] = ["arn:aws:iam::aws:policy/AdministratorAccess"]


@mutant("broaden", "exposure")
def plain_http_is_no_longer_denied(draft: Draft) -> None:
    draft.statements(OUT_POLICY).remove(deny_of(draft, OUT_POLICY))


@mutant("replace")
def bucket_gets_a_name(draft: Draft) -> None:
    draft.properties(OUT)["BucketName"] = "musicgen-outputs"


@mutant("replace", "broaden", "exposure")
def bucket_moves_to_another_logical_id(draft: Draft) -> None:
    draft.rename(OUT, "StorageResultBucket00000000")


@mutant("replace")
def endpoint_gets_another_name(draft: Draft) -> None:
    draft.properties("AsyncEndpoint/Endpoint")["EndpointName"] = "music"
    draft.properties(TARGET)["ResourceId"] = "endpoint/music/variant/AllTraffic"


@mutant("exposure")
def public_access_block_is_removed(draft: Draft) -> None:
    del draft.properties(OUT)["PublicAccessBlockConfiguration"]


@mutant("retention")
def deletion_policy_changes(draft: Draft) -> None:
    draft.resource(OUT)["DeletionPolicy"] = "Retain"


@mutant("exposure")
def bucket_encryption_is_removed(draft: Draft) -> None:
    del draft.properties(OUT)["BucketEncryption"]


@mutant("two-phase", "money")
def more_expensive_instance_type(draft: Draft) -> None:
    variant(draft)["InstanceType"] = "ml.g6e.2xlarge"


@mutant("money")
def one_instance_always_runs(draft: Draft) -> None:
    draft.properties(TARGET)["MinCapacity"] = 1


# destroyed and replaced


@mutant("replace", "exposure")
def bucket_is_removed(draft: Draft) -> None:
    for path in (EMPTIER, OUT_POLICY, OUT):
        draft.remove(path)


@mutant("replace", "service")
def endpoint_is_removed(draft: Draft) -> None:
    for path in (TARGET, FOLLOW, "ScaleToZero/WakeFromZero", "AsyncEndpoint/Endpoint"):
        draft.remove(path)


@mutant("replace", "two-phase")
def endpoint_moves_to_another_logical_id(draft: Draft) -> None:
    draft.rename("AsyncEndpoint/Endpoint", "AsyncEndpointMoved")


@mutant("replace")
def log_group_gets_another_name(draft: Draft) -> None:
    draft.properties("AsyncEndpoint/Logs")["LogGroupName"] = "/music"


@mutant("replace")
def topic_gets_a_name(draft: Draft) -> None:
    draft.properties("Notifications/SuccessTopic")["TopicName"] = "done"


@mutant("replace")
def bucket_emptier_is_removed_but_not_its_tag(draft: Draft) -> None:
    draft.remove(EMPTIER)


@mutant("replace")
def bucket_emptier_moves_to_another_logical_id(draft: Draft) -> None:
    draft.rename(EMPTIER, "EmptierMoved")


# retention


@mutant("retention")
def replacement_policy_changes(draft: Draft) -> None:
    draft.resource(IN)["UpdateReplacePolicy"] = "Retain"


@mutant("retention")
def deletion_policy_is_unset(draft: Draft) -> None:
    del draft.resource(OUT)["DeletionPolicy"]


@mutant("retention")
def function_logs_elsewhere(draft: Draft) -> None:
    del draft.properties(STAGE_FUNCTION)["LoggingConfig"]


@mutant("retention")
def outputs_expire_sooner(draft: Draft) -> None:
    for rule in rules_of(draft, OUT):
        if "ExpirationInDays" in rule:
            rule["ExpirationInDays"] = 1


@mutant("retention")
def inputs_never_expire(draft: Draft) -> None:
    draft.properties(IN)["LifecycleConfiguration"]["Rules"] = rules_of(draft, IN)[:1]


@mutant("retention")
def expiry_is_switched_off(draft: Draft) -> None:
    for rule in rules_of(draft, OUT):
        rule["Status"] = "Disabled"


@mutant("retention")
def models_start_to_expire(draft: Draft) -> None:
    rule = {"Status": "Enabled", "ExpirationInDays": 30, "Prefix": "models/"}
    rules_of(draft, "Storage/ArtifactBucket").append(rule)


@mutant("retention")
def logs_are_kept_for_a_day(draft: Draft) -> None:
    draft.properties("AsyncEndpoint/Logs")["RetentionInDays"] = 1


@mutant("retention")
def logs_are_kept_for_ever(draft: Draft) -> None:
    del draft.properties("AsyncEndpoint/Logs")["RetentionInDays"]


@mutant("retention")
def bucket_loses_the_tag_of_its_emptier(draft: Draft) -> None:
    del draft.properties(OUT)["Tags"]
