"""Changes to the real stack that must not pass, each with the classes of labels that it needs."""

from collections.abc import Callable
from typing import Any

from gate_stacks import Change, Draft

MUTANTS: dict[str, tuple[Change, frozenset[str]]] = {}

IN, OUT, STAGED = "Storage/InputBucket", "Storage/OutputBucket", "StagedModel"
OUT_POLICY, TOPIC_POLICY = "Storage/OutputBucket/Policy", "Notifications/AlarmTopic/Policy"
ROLE, ROLE_POLICY = "AsyncEndpoint/Role", "AsyncEndpoint/Role/DefaultPolicy"
STAGE_ROLE, STAGE_POLICY, STAGE_FUNCTION = "StagedModel/Role", "StagedModel/Role/DefaultPolicy", "StagedModel/Function"
TARGET, FOLLOW = "ScaleToZero/Target", "ScaleToZero/FollowBacklog"
CLIENT = "ClientAccess/Policy"
EMPTIER = "Storage/OutputBucket/AutoDeleteObjectsCustomResource"


def mutant(*classes: str) -> Callable[[Change], Change]:
    """Register a change under its function's name."""

    def register(change: Change) -> Change:
        MUTANTS[change.__name__] = (change, frozenset(classes))
        return change

    return register


def variant(draft: Draft) -> dict[str, Any]:
    """The one production variant."""
    return draft.properties("AsyncEndpoint/Config")["ProductionVariants"][0]


def deny_of(draft: Draft, path: str) -> dict[str, Any]:
    """The statement that refuses plain HTTP."""
    return next(statement for statement in draft.statements(path) if statement["Effect"] == "Deny")


def rules_of(draft: Draft, path: str) -> list[dict[str, Any]]:
    """A bucket's lifecycle rules."""
    return draft.properties(path)["LifecycleConfiguration"]["Rules"]


# the twelve that a plain differ was measured on


@mutant("broaden")
def role_may_do_anything_in_s3(draft: Draft) -> None:
    draft.statements(ROLE_POLICY).append({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})


@mutant("broaden", "exposure")
def anybody_may_assume_the_role(draft: Draft) -> None:
    draft.trust(ROLE)["Principal"] = {"AWS": "*"}


@mutant("broaden")
def role_gets_administrator_access(draft: Draft) -> None:
    draft.properties(ROLE)["ManagedPolicyArns"] = ["arn:aws:iam::aws:policy/AdministratorAccess"]


@mutant("broaden", "exposure")
def plain_http_is_no_longer_refused(draft: Draft) -> None:
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
def public_access_block_goes(draft: Draft) -> None:
    del draft.properties(OUT)["PublicAccessBlockConfiguration"]


@mutant("retention")
def deletion_policy_changes(draft: Draft) -> None:
    draft.resource(OUT)["DeletionPolicy"] = "Retain"


@mutant("exposure")
def bucket_encryption_goes(draft: Draft) -> None:
    del draft.properties(OUT)["BucketEncryption"]


@mutant("two-phase", "money")
def dearer_instance_type(draft: Draft) -> None:
    variant(draft)["InstanceType"] = "ml.g6e.2xlarge"


@mutant("money")
def one_instance_always_runs(draft: Draft) -> None:
    draft.properties(TARGET)["MinCapacity"] = 1


# destroyed and replaced


@mutant("replace", "exposure")
def bucket_is_removed(draft: Draft) -> None:
    for path in (EMPTIER, OUT_POLICY, OUT):
        draft.remove(path)


@mutant("replace")
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
def bucket_emptier_goes_and_the_tag_stays(draft: Draft) -> None:
    draft.remove(EMPTIER)


@mutant("replace")
def bucket_emptier_moves_to_another_logical_id(draft: Draft) -> None:
    draft.rename(EMPTIER, "EmptierMoved")


# permissions


@mutant("broaden")
def wildcard_reaches_past_the_prefix(draft: Draft) -> None:
    statement = next(item for item in draft.statements(CLIENT) if item["Action"] == "s3:PutObject")
    statement["Resource"]["Fn::Join"][1][-1] = "/*"


@mutant("broaden")
def client_may_delete_outputs(draft: Draft) -> None:
    statement = next(item for item in draft.statements(CLIENT) if item["Action"] == "s3:GetObject")
    statement["Action"] = ["s3:GetObject", "s3:DeleteObject"]


@mutant("broaden")
def listing_loses_its_condition(draft: Draft) -> None:
    statement = next(item for item in draft.statements(CLIENT) if item["Action"] == "s3:ListBucket")
    del statement["Condition"]


@mutant("broaden")
def listing_reaches_one_more_prefix(draft: Draft) -> None:
    statement = next(item for item in draft.statements(CLIENT) if item["Action"] == "s3:ListBucket")
    statement["Condition"]["StringLike"]["s3:prefix"].append("private/*")


@mutant("broaden")
def all_actions_but_one(draft: Draft) -> None:
    draft.statements(STAGE_POLICY).append({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"})


@mutant("broaden")
def all_resources_but_one(draft: Draft) -> None:
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "NotResource": "arn:aws:s3:::secret/*"}
    draft.statements(STAGE_POLICY).append(statement)


@mutant("broaden")
def trust_loses_the_account(draft: Draft) -> None:
    del draft.trust(ROLE)["Condition"]["StringEquals"]


@mutant("broaden")
def trust_takes_in_another_account(draft: Draft) -> None:
    draft.trust(STAGE_ROLE)["Principal"] = {"Service": "lambda.amazonaws.com", "AWS": "999988887777"}


@mutant("broaden")
def trust_widens_its_source_arn(draft: Draft) -> None:
    draft.trust(ROLE)["Condition"]["ArnLike"]["aws:SourceArn"] = "arn:aws:sagemaker:*:*:*"


@mutant("broaden")
def function_runs_under_the_wider_role(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Role"] = {"Fn::GetAtt": [draft.id(ROLE), "Arn"]}


@mutant("broaden")
def function_runs_under_a_role_from_elsewhere(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Role"] = "arn:aws:iam::123456789012:role/admin"


@mutant("broaden", "exposure")
def everybody_may_read_outputs(draft: Draft) -> None:
    bucket = {"Fn::Join": ["", [{"Fn::GetAtt": [draft.id(OUT), "Arn"]}, "/*"]]}
    draft.statements(OUT_POLICY).append(
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": bucket}
    )


@mutant("broaden", "exposure")
def everybody_may_subscribe(draft: Draft) -> None:
    topic = {"Ref": draft.id("Notifications/AlarmTopic")}
    draft.statements(TOPIC_POLICY).append(
        {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sns:Subscribe", "Resource": topic}
    )


@mutant("broaden")
def alarms_of_every_account_may_publish(draft: Draft) -> None:
    statement = next(item for item in draft.statements(TOPIC_POLICY) if item["Effect"] == "Allow")
    del statement["Condition"]["StringEquals"]


@mutant("broaden", "exposure")
def plain_http_is_refused_for_reading_alone(draft: Draft) -> None:
    deny_of(draft, OUT_POLICY)["Action"] = "s3:Get*"


@mutant("broaden", "exposure")
def plain_http_is_refused_to_one_account_alone(draft: Draft) -> None:
    deny_of(draft, OUT_POLICY)["Principal"] = {"AWS": "123456789012"}


@mutant("broaden", "exposure")
def topic_policy_goes(draft: Draft) -> None:
    draft.remove("Notifications/SuccessTopic/Policy")


@mutant("broaden")
def condition_known_only_at_deploy_time(draft: Draft) -> None:
    draft.template["Conditions"] = {}
    statement = next(item for item in draft.statements(CLIENT) if item["Action"] == "s3:ListBucket")
    statement["Condition"] = {"StringLike": {"s3:prefix": {"Fn::ImportValue": "Prefixes"}}}
    del draft.template["Conditions"]


@mutant("broaden")
def document_known_only_at_deploy_time(draft: Draft) -> None:
    policy = draft.properties(ROLE_POLICY)["PolicyDocument"]
    draft.properties(ROLE_POLICY)["PolicyDocument"] = {"Fn::If": ["Wide", policy, policy]}


@mutant("broaden")
def new_user_with_a_key(draft: Draft) -> None:
    draft.add("Friend", "AWS::IAM::User")
    draft.add("FriendKey", "AWS::IAM::AccessKey", UserName={"Ref": "Friend"})


@mutant("broaden")
def function_may_be_called_by_another_account(draft: Draft) -> None:
    function = {"Fn::GetAtt": [draft.id(STAGE_FUNCTION), "Arn"]}
    properties = {"Action": "lambda:InvokeFunction", "FunctionName": function, "Principal": "999988887777"}
    draft.add("Invoke", "AWS::Lambda::Permission", **properties)


@mutant("exposure", "broaden")
def function_gets_a_public_address(draft: Draft) -> None:
    function = {"Fn::GetAtt": [draft.id(STAGE_FUNCTION), "Arn"]}
    draft.add("Address", "AWS::Lambda::Url", AuthType="NONE", TargetFunctionArn=function)
    properties = {"Action": "lambda:InvokeFunctionUrl", "FunctionName": function, "Principal": "*"}
    draft.add("Callers", "AWS::Lambda::Permission", FunctionUrlAuthType="NONE", **properties)


@mutant("broaden", "exposure")
def new_key_that_everybody_may_use(draft: Draft) -> None:
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}
    draft.add("Key", "AWS::KMS::Key", KeyPolicy={"Version": "2012-10-17", "Statement": [statement]})


# protection


@mutant("exposure")
def one_public_access_block_is_lifted(draft: Draft) -> None:
    draft.properties(IN)["PublicAccessBlockConfiguration"]["RestrictPublicBuckets"] = False


@mutant("exposure")
def one_public_access_block_is_not_named(draft: Draft) -> None:
    del draft.properties(IN)["PublicAccessBlockConfiguration"]["IgnorePublicAcls"]


@mutant("exposure")
def bucket_is_readable_by_list(draft: Draft) -> None:
    draft.properties(OUT)["AccessControl"] = "PublicRead"


@mutant("exposure")
def bucket_becomes_a_website(draft: Draft) -> None:
    draft.properties(OUT)["WebsiteConfiguration"] = {"IndexDocument": "index.html"}


@mutant("exposure")
def every_origin_may_read(draft: Draft) -> None:
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}
    draft.properties(OUT)["CorsConfiguration"] = {"CorsRules": [rule]}


@mutant("exposure")
def bucket_is_replicated_elsewhere(draft: Draft) -> None:
    rule = {"Status": "Enabled", "Destination": {"Bucket": "arn:aws:s3:::elsewhere"}}
    draft.properties(OUT)["ReplicationConfiguration"] = {"Role": {"Ref": "Nobody"}, "Rules": [rule]}
    del draft.properties(OUT)["ReplicationConfiguration"]["Role"]


@mutant("exposure")
def results_go_to_another_bucket(draft: Draft) -> None:
    output = draft.properties("AsyncEndpoint/Config")["AsyncInferenceConfig"]["OutputConfig"]
    output["S3OutputPath"] = "s3://elsewhere/out/"


@mutant("exposure")
def people_may_log_in_to_instances(draft: Draft) -> None:
    variant(draft)["EnableSSMAccess"] = True


@mutant("exposure")
def prompts_are_captured(draft: Draft) -> None:
    capture = {"EnableCapture": True, "InitialSamplingPercentage": 100, "DestinationS3Uri": "s3://elsewhere/"}
    draft.properties("AsyncEndpoint/Config")["DataCaptureConfig"] = capture


@mutant("exposure")
def a_stranger_subscribes(draft: Draft) -> None:
    topic = {"Ref": draft.id("Notifications/SuccessTopic")}
    draft.add("Ears", "AWS::SNS::Subscription", Protocol="https", Endpoint="https://example.com", TopicArn=topic)


@mutant("exposure")
def messages_go_to_a_topic_from_elsewhere(draft: Draft) -> None:
    output = draft.properties("AsyncEndpoint/Config")["AsyncInferenceConfig"]["OutputConfig"]
    output["NotificationConfig"]["SuccessTopic"] = "arn:aws:sns:us-east-1:999988887777:theirs"


@mutant("exposure")
def code_comes_from_another_bucket(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Code"]["S3Bucket"] = "theirs"


@mutant("exposure")
def function_gets_a_layer_from_elsewhere(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Layers"] = ["arn:aws:lambda:us-east-1:999988887777:layer:helpful:1"]


@mutant("exposure")
def new_bucket_without_protection(draft: Draft) -> None:
    block = dict.fromkeys(("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls"), True)
    draft.add("Extra", "AWS::S3::Bucket", PublicAccessBlockConfiguration=block)


# how long things last


@mutant("retention")
def replacement_policy_changes(draft: Draft) -> None:
    draft.resource(IN)["UpdateReplacePolicy"] = "Retain"


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
def models_begin_to_expire(draft: Draft) -> None:
    rule = {"Status": "Enabled", "ExpirationInDays": 30, "Prefix": "models/"}
    rules_of(draft, "Storage/ArtifactBucket").append(rule)


@mutant("retention")
def logs_are_kept_a_day(draft: Draft) -> None:
    draft.properties("AsyncEndpoint/Logs")["RetentionInDays"] = 1


@mutant("retention")
def logs_are_kept_for_ever(draft: Draft) -> None:
    del draft.properties("AsyncEndpoint/Logs")["RetentionInDays"]


@mutant("retention")
def bucket_emptier_no_longer_finds_its_tag(draft: Draft) -> None:
    del draft.properties(OUT)["Tags"]


# money


@mutant("money")
def more_instances_at_once(draft: Draft) -> None:
    draft.properties(TARGET)["MaxCapacity"] = 10


@mutant("money")
def nothing_scales_in(draft: Draft) -> None:
    draft.remove(FOLLOW)


@mutant("money")
def scaling_in_is_disabled(draft: Draft) -> None:
    draft.properties(FOLLOW)["TargetTrackingScalingPolicyConfiguration"]["DisableScaleIn"] = True


@mutant("money")
def scaling_is_suspended(draft: Draft) -> None:
    draft.properties(TARGET)["SuspendedState"] = {"DynamicScalingInSuspended": True}


@mutant("money")
def the_clock_starts_instances(draft: Draft) -> None:
    action = {"ScheduledActionName": "day", "Schedule": "cron(0 8 * * ? *)", "ScalableTargetAction": {"MinCapacity": 2}}
    draft.properties(TARGET)["ScheduledActions"] = [action]


@mutant("money")
def scaling_follows_a_metric_without_data(draft: Draft) -> None:
    metric = draft.properties(FOLLOW)["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
    metric["Dimensions"].append({"Name": "VariantName", "Value": "AllTraffic"})


@mutant("money")
def every_deployment_starts_four(draft: Draft) -> None:
    variant(draft)["InitialInstanceCount"] = 4


@mutant("money", "two-phase")
def scaling_goes_altogether(draft: Draft) -> None:
    for path in (FOLLOW, "ScaleToZero/WakeFromZero", TARGET):
        draft.remove(path)
    variant(draft)["InstanceType"] = "ml.g6.xlarge"


@mutant("money", "two-phase")
def instance_without_a_price(draft: Draft) -> None:
    variant(draft)["InstanceType"] = "ml.p5.48xlarge"


# what takes two deployments


@mutant("two-phase")
def cheaper_instance_type(draft: Draft) -> None:
    variant(draft)["InstanceType"] = "ml.g6.xlarge"


@mutant("two-phase")
def variant_gets_another_name(draft: Draft) -> None:
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
def new_models_start_everywhere_at_once(draft: Draft) -> None:
    draft.properties("AsyncEndpoint/Endpoint")["RetainAllVariantProperties"] = True


# what the gate does not know


@mutant("unknown")
def new_resource_of_an_unknown_type(draft: Draft) -> None:
    draft.add("Machine", "AWS::EC2::Instance", ImageId="ami-0", InstanceType="p5.48xlarge")


@mutant("unknown")
def template_gets_a_transform(draft: Draft) -> None:
    draft.template["Transform"] = "AWS::Serverless-2016-10-31"


@mutant("unknown")
def resource_depends_on_a_condition(draft: Draft) -> None:
    draft.resource("Monitoring/QueueAge")["Condition"] = "Sometimes"
