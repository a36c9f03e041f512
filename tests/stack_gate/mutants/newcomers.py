"""New resources that give access, cost money or send data away, judged like changed ones."""

from typing import Any

from tests.stack_gate.mutants.registry import STAGE_FUNCTION, STAGED, TARGET, mutant
from tests.stack_gate.mutants.stacks import Draft

THEIRS = "arn:aws:iam::999988887777:root"
THEIR_FUNCTION = "arn:aws:lambda:us-east-1:999988887777:function:theirs"
THEIR_KEY = "arn:aws:kms:us-east-1:999988887777:key/11111111-2222-3333-4444-555555555555"
PUBLISH = {"Effect": "Allow", "Principal": {"AWS": THEIRS}, "Action": "sns:Publish", "Resource": "*"}


def policy(*actions: str) -> dict[str, Any]:
    """Return a policy that lets another account in."""
    statement = {"Effect": "Allow", "Principal": {"AWS": THEIRS}, "Action": list(actions), "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


@mutant("broaden", "exposure")
def table_with_a_policy(draft: Draft) -> None:
    draft.add("Table", "AWS::DynamoDB::Table", ResourcePolicy={"PolicyDocument": policy("dynamodb:*")})


@mutant("broaden", "exposure")
def file_system_with_a_policy(draft: Draft) -> None:
    draft.add("Files", "AWS::EFS::FileSystem", Encrypted=True, FileSystemPolicy=policy("elasticfilesystem:*"))


@mutant("broaden")
def log_group_with_a_policy(draft: Draft) -> None:
    draft.add("MoreLogs", "AWS::Logs::LogGroup", ResourcePolicyDocument=policy("logs:*"))


@mutant("exposure")
def store_without_encryption(draft: Draft) -> None:
    draft.add("Files", "AWS::EFS::FileSystem")


@mutant("broaden")
def custom_resource_with_a_policy(draft: Draft) -> None:
    token = {"Fn::GetAtt": [draft.id(STAGE_FUNCTION), "Arn"]}
    draft.add("Grant", "Custom::Grant", ServiceToken=token, Policy=policy("s3:*"))


@mutant("exposure")
def custom_resource_of_another_account(draft: Draft) -> None:
    draft.add("Helper", "Custom::Helper", ServiceToken=THEIR_FUNCTION)


@mutant("exposure")
def weights_from_a_foreign_custom_resource(draft: Draft) -> None:
    draft.add("Helper", "AWS::CloudFormation::CustomResource", ServiceToken=THEIR_FUNCTION)
    container = draft.properties("AsyncEndpoint/Model")["PrimaryContainer"]
    container["ModelDataUrl"] = {"Fn::GetAtt": ["Helper", "ModelDataUrl"]}


@mutant("exposure")
def weights_from_a_parameter(draft: Draft) -> None:
    draft.add("Where", "AWS::SSM::Parameter", Type="String", Value="s3://theirs/model.tar.gz")
    container = draft.properties("AsyncEndpoint/Model")["PrimaryContainer"]
    container["ModelDataUrl"] = {"Fn::GetAtt": ["Where", "Value"]}


@mutant("exposure")
def subscriber_by_way_of_a_parameter(draft: Draft) -> None:
    draft.add("Where", "AWS::SSM::Parameter", Type="String", Value="https://example.com")
    topic, endpoint = {"Ref": draft.id("Notifications/SuccessTopic")}, {"Fn::GetAtt": ["Where", "Value"]}
    draft.add("Outsider", "AWS::SNS::Subscription", Protocol="https", Endpoint=endpoint, TopicArn=topic)


@mutant("exposure", "broaden")
def second_staging_from_another_bucket(draft: Draft) -> None:
    staged = {**draft.properties(STAGED), "CodeBucket": "theirs"}
    draft.add("Second", "Custom::StagedModel", **staged)


@mutant("exposure", "broaden")
def new_function_with_foreign_code(draft: Draft) -> None:
    function = {**draft.properties(STAGE_FUNCTION), "Code": {"S3Bucket": "theirs", "S3Key": "code.zip"}}
    draft.add("Second", "AWS::Lambda::Function", **function)


@mutant("money")
def second_scaling_policy(draft: Draft) -> None:
    steps = [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]
    draft.add(
        "Keep",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        PolicyName="Keep",
        PolicyType="StepScaling",
        ScalingTargetId={"Ref": draft.id(TARGET)},
        StepScalingPolicyConfiguration={"AdjustmentType": "ExactCapacity", "StepAdjustments": steps},
    )


@mutant("money")
def second_wake_up_alarm_that_always_fires(draft: Draft) -> None:
    alarm = {**draft.properties("ScaleToZero/BacklogWithoutCapacity"), "Threshold": 0}
    draft.add("Always", "AWS::CloudWatch::Alarm", **alarm)


@mutant("money")
def alias_with_provisioned_concurrency(draft: Draft) -> None:
    draft.add(
        "Live",
        "AWS::Lambda::Alias",
        FunctionName={"Ref": draft.id(STAGE_FUNCTION)},
        FunctionVersion="1",
        Name="live",
        ProvisionedConcurrencyConfig={"ProvisionedConcurrentExecutions": 50},
    )


@mutant("exposure")
def failed_events_go_to_another_account(draft: Draft) -> None:
    destination = {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:999988887777:theirs"}}
    function = {"Ref": draft.id("FailedStart/Function")}
    draft.add(
        "Failed",
        "AWS::Lambda::EventInvokeConfig",
        FunctionName=function,
        Qualifier="$LATEST",
        DestinationConfig=destination,
    )


@mutant("exposure")
def queue_of_another_account_feeds_the_function(draft: Draft) -> None:
    draft.add(
        "Feed",
        "AWS::Lambda::EventSourceMapping",
        EventSourceArn="arn:aws:sqs:us-east-1:999988887777:theirs",
        FunctionName={"Ref": draft.id(STAGE_FUNCTION)},
    )


@mutant("exposure")
def logs_are_sent_to_another_account(draft: Draft) -> None:
    draft.add(
        "Leak",
        "AWS::Logs::SubscriptionFilter",
        DestinationArn="arn:aws:logs:us-east-1:999988887777:destination:theirs",
        FilterPattern="",
        LogGroupName={"Ref": draft.id("AsyncEndpoint/Logs")},
    )


@mutant("exposure")
def new_queue_under_a_foreign_key(draft: Draft) -> None:
    draft.add("Queue", "AWS::SQS::Queue", KmsMasterKeyId=THEIR_KEY)


@mutant("exposure", "broaden")
def new_function_with_a_foreign_layer(draft: Draft) -> None:
    layers = ["arn:aws:lambda:us-east-1:999988887777:layer:helpful:1"]
    draft.add("Second", "AWS::Lambda::Function", **{**draft.properties(STAGE_FUNCTION), "Layers": layers})


@mutant("exposure")
def new_alarm_of_a_foreign_topic(draft: Draft) -> None:
    topic = "arn:aws:sns:us-east-1:999988887777:theirs"
    draft.add("Alarm", "AWS::CloudWatch::Alarm", MetricName="ModelLatency", Threshold=1, AlarmActions=[topic])


@mutant("exposure", "broaden")
def new_topic_that_another_account_may_publish_to(draft: Draft) -> None:
    draft.add("News", "AWS::SNS::Topic")
    document = {"Version": "2012-10-17", "Statement": [PUBLISH]}
    draft.add("NewsPolicy", "AWS::SNS::TopicPolicy", Topics=[{"Ref": "News"}], PolicyDocument=document)
