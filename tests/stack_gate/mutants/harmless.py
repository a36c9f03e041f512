"""Changes to the real stack that must pass without any label."""

import json
import re

from tests.stack_gate.mutants.registry import (
    CLIENT,
    FOLLOW,
    IN,
    OUT,
    OUT_POLICY,
    ROLE,
    ROLE_POLICY,
    STAGE_FUNCTION,
    STAGED,
    TARGET,
    rules_of,
    variant,
)
from tests.stack_gate.mutants.stacks import Change, Draft

HARMLESS: dict[str, Change] = {}


def harmless(change: Change) -> Change:
    """Register a change under its function's name."""
    HARMLESS[change.__name__] = change
    return change


@harmless
def nothing_changes(draft: Draft) -> None:
    draft.template["Description"] = draft.template["Description"]


@harmless
def every_resource_gets_a_tag(draft: Draft) -> None:
    tag = {"Key": "team", "Value": "music"}
    taggable = ("AWS::S3::Bucket", "AWS::SNS::Topic", "AWS::Logs::LogGroup", "AWS::IAM::Role", "AWS::Lambda::Function")
    for resource in draft.resources.values():
        if resource["Type"] in (*taggable, "AWS::SageMaker::Endpoint", "AWS::SageMaker::Model"):
            properties = resource.setdefault("Properties", {})
            properties["Tags"] = [*properties.get("Tags", []), tag]


@harmless
def descriptions_change(draft: Draft) -> None:
    draft.template["Description"] = "Music"
    draft.properties(STAGE_FUNCTION)["Description"] = "Stages"
    draft.properties(ROLE)["Description"] = "Runs"


@harmless
def client_may_no_longer_read_failures(draft: Draft) -> None:
    statement = next(item for item in draft.statements(CLIENT) if item["Action"] == "s3:GetObject")
    statement["Resource"].pop()


@harmless
def a_statement_is_removed(draft: Draft) -> None:
    statements = draft.statements(ROLE_POLICY)
    statements.remove(next(item for item in statements if item["Action"] == "sns:Publish"))


@harmless
def a_statement_gets_a_condition(draft: Draft) -> None:
    for statement in draft.statements(CLIENT):
        statement.setdefault("Condition", {})["Bool"] = {"aws:SecureTransport": "true"}


@harmless
def a_policy_is_split_in_two(draft: Draft) -> None:
    statement = next(item for item in draft.statements(CLIENT) if item["Action"] == "s3:GetObject")
    first, *rest = statement["Resource"]
    statement["Resource"] = first
    draft.statements(CLIENT).append({"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": rest})


@harmless
def a_denial_is_added(draft: Draft) -> None:
    denial = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "*"}
    draft.statements(OUT_POLICY).append(denial)


@harmless
def a_denial_gets_wider(draft: Draft) -> None:
    for statement in draft.statements(OUT_POLICY):
        if statement["Effect"] == "Deny":
            statement["Action"] = "*"


@harmless
def new_alarm(draft: Draft) -> None:
    topic = {"Ref": draft.id("Notifications/AlarmTopic")}
    draft.add("Alarm", "AWS::CloudWatch::Alarm", MetricName="ModelLatency", Threshold=1, AlarmActions=[topic])


@harmless
def alarm_threshold_changes(draft: Draft) -> None:
    draft.properties("Monitoring/QueueAge")["Threshold"] = 60


@harmless
def an_alarm_is_removed(draft: Draft) -> None:
    draft.remove("Monitoring/ExpiredRequests")


@harmless
def new_dashboard(draft: Draft) -> None:
    draft.add("Board", "AWS::CloudWatch::Dashboard", DashboardBody="{}")


@harmless
def comment_in_the_bundle(draft: Draft) -> None:
    """A new asset changes the custom resource, and the policy of the role that reads the asset."""
    old = draft.properties(STAGED)["CodeKey"].partition(".")[0]
    draft.template = json.loads(json.dumps(draft.template).replace(old, "0" * 64))
    draft.upload("0" * 64 + ".zip")


@harmless
def new_code_of_the_function(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Code"]["S3Key"] = draft.upload("1" * 64 + ".zip")


@harmless
def another_revision_of_the_weights(draft: Draft) -> None:
    draft.properties(STAGED)["Revision"] = "f" * 40


@harmless
def container_environment_changes(draft: Draft) -> None:
    draft.properties("AsyncEndpoint/Model")["PrimaryContainer"]["Environment"]["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = "50"


@harmless
def another_image(draft: Draft) -> None:
    draft.properties("AsyncEndpoint/Model")["PrimaryContainer"]["Image"] += "-v2"


@harmless
def longer_timeouts(draft: Draft) -> None:
    variant(draft)["ContainerStartupHealthCheckTimeoutInSeconds"] = 900
    draft.properties(STAGE_FUNCTION)["MemorySize"] = 4096


@harmless
def outputs_are_kept_longer(draft: Draft) -> None:
    for rule in rules_of(draft, OUT):
        if "ExpirationInDays" in rule:
            rule["ExpirationInDays"] = 365


@harmless
def lifecycle_rules_are_renamed(draft: Draft) -> None:
    for rule in rules_of(draft, IN):
        rule["Id"] = f"New{rule['Id']}"


@harmless
def logs_are_kept_longer(draft: Draft) -> None:
    draft.properties("AsyncEndpoint/Logs")["RetentionInDays"] = 365


@harmless
def encryption_with_a_kms_key(draft: Draft) -> None:
    default = {"SSEAlgorithm": "aws:kms"}
    draft.properties(OUT)["BucketEncryption"] = {
        "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}]
    }


@harmless
def fewer_instances_at_most(draft: Draft) -> None:
    draft.properties(TARGET)["MaxCapacity"] = 1


@harmless
def a_higher_target(draft: Draft) -> None:
    draft.properties(FOLLOW)["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] = 16


@harmless
def instances_are_removed_sooner(draft: Draft) -> None:
    draft.properties(FOLLOW)["TargetTrackingScalingPolicyConfiguration"]["ScaleInCooldown"] = 60


@harmless
def new_email_is_notified_of_failures(draft: Draft) -> None:
    topic = {"Ref": draft.id("Notifications/ErrorTopic")}
    draft.add("Mail", "AWS::SNS::Subscription", Protocol="email", Endpoint="a@example.com", TopicArn=topic)


@harmless
def new_output(draft: Draft) -> None:
    draft.template["Outputs"]["Hello"] = {"Value": "world"}


@harmless
def new_topic_over_tls(draft: Draft) -> None:
    draft.add("News", "AWS::SNS::Topic")
    denial = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sns:Publish",
        "Resource": {"Ref": "News"},
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    draft.add("NewsPolicy", "AWS::SNS::TopicPolicy", Topics=[{"Ref": "News"}], PolicyDocument={"Statement": [denial]})


@harmless
def cdk_writes_the_template_differently(draft: Draft) -> None:
    """Same meaning: order of statements, a list of one, numbers as text, Fn::Sub instead of Fn::Join."""
    draft.statements(CLIENT).reverse()
    for statement in draft.statements(CLIENT):
        if isinstance(statement["Action"], str):
            statement["Action"] = [statement["Action"].upper().replace("S3:", "s3:")]
    draft.properties(TARGET)["MaxCapacity"] = str(draft.properties(TARGET)["MaxCapacity"])
    bucket = draft.id(OUT)
    for statement in draft.statements(CLIENT):
        if statement["Action"] == ["s3:LISTBUCKET"]:
            statement["Resource"] = {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::${{{bucket}}}"}
    draft.template["Outputs"]["InputBucketName"]["Description"] = "inputs"


@harmless
def the_metadata_of_every_resource_changes(draft: Draft) -> None:
    for resource in draft.resources.values():
        resource.setdefault("Metadata", {})["note"] = "seen"


@harmless
def attributes_are_written_as_text(draft: Draft) -> None:
    """`Fn::GetAtt: A.Arn` is the same as `Fn::GetAtt: [A, Arn]`."""
    text = json.dumps(draft.template)
    draft.template = json.loads(re.sub(r'"Fn::GetAtt": \["(\w+)", "(\w+)"\]', r'"Fn::GetAtt": "\1.\2"', text))


@harmless
def statements_get_names(draft: Draft) -> None:
    for index, statement in enumerate(draft.statements(CLIENT)):
        statement["Sid"] = f"Statement{index}"


@harmless
def a_policy_without_variables_gets_the_older_version(draft: Draft) -> None:
    draft.properties(ROLE_POLICY)["PolicyDocument"]["Version"] = "2008-10-17"


@harmless
def a_parameter_that_nothing_uses(draft: Draft) -> None:
    draft.template["Parameters"]["Note"] = {"Type": "String", "Default": "unused"}


@harmless
def function_gets_more_time_and_disk(draft: Draft) -> None:
    draft.properties("FailedStart/Function")["Timeout"] = 600
    draft.properties(STAGE_FUNCTION)["EphemeralStorage"] = {"Size": 10240}


@harmless
def image_is_pinned_by_digest(draft: Draft) -> None:
    container = draft.properties("AsyncEndpoint/Model")["PrimaryContainer"]
    container["Image"] = container["Image"].partition(":")[0] + "@sha256:" + "0" * 64


@harmless
def wake_up_alarm_gets_another_description(draft: Draft) -> None:
    draft.properties("ScaleToZero/BacklogWithoutCapacity")["AlarmDescription"] = "Wakes the endpoint"


@harmless
def recovery_is_notified_too(draft: Draft) -> None:
    draft.properties("ScaleToZero/BacklogWithoutCapacity")["OKActions"] = [
        {"Ref": draft.id("Notifications/AlarmTopic")}
    ]


@harmless
def new_log_metric(draft: Draft) -> None:
    metric = {"MetricName": "Errors", "MetricNamespace": "MusicGen", "MetricValue": "1"}
    logs = {"Ref": draft.id("AsyncEndpoint/Logs")}
    draft.add(
        "Errors", "AWS::Logs::MetricFilter", FilterPattern="ERROR", LogGroupName=logs, MetricTransformations=[metric]
    )


@harmless
def output_names_the_role(draft: Draft) -> None:
    draft.template["Outputs"]["RoleArn"] = {"Value": {"Fn::GetAtt": [draft.id(ROLE), "Arn"]}}
