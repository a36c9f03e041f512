"""Changes that give someone access."""

from tests.stack_gate.mutants.registry import (
    CLIENT,
    IN,
    OUT,
    OUT_POLICY,
    ROLE,
    ROLE_POLICY,
    STAGE_FUNCTION,
    STAGE_POLICY,
    STAGE_ROLE,
    TOPIC_POLICY,
    deny_of,
    mutant,
)
from tests.stack_gate.mutants.stacks import Draft


@mutant("broaden")
def wildcard_reaches_past_the_prefix(draft: Draft) -> None:
    statement = next(item for item in draft.statements(CLIENT) if item["Action"] == "s3:PutObject")
    statement["Resource"][0]["Fn::Join"][1][-1] = "/*"


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
def trust_adds_another_account(draft: Draft) -> None:
    draft.trust(STAGE_ROLE)["Principal"] = {"Service": "lambda.amazonaws.com", "AWS": "999988887777"}


@mutant("broaden")
def trust_widens_its_source_arn(draft: Draft) -> None:
    draft.trust(ROLE)["Condition"]["ArnLike"]["aws:SourceArn"] = "arn:aws:sagemaker:*:*:*"


@mutant("broaden")
def function_runs_under_the_wider_role(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Role"] = {"Fn::GetAtt": [draft.id(ROLE), "Arn"]}


@mutant("broaden")
def function_runs_under_a_foreign_role(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Role"] = "arn:aws:iam::123456789012:role/admin"


@mutant("broaden", "exposure")
def everyone_may_read_outputs(draft: Draft) -> None:
    bucket = {"Fn::Join": ["", [{"Fn::GetAtt": [draft.id(OUT), "Arn"]}, "/*"]]}
    draft.statements(OUT_POLICY).append(
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": bucket}
    )


@mutant("broaden", "exposure")
def everyone_may_subscribe(draft: Draft) -> None:
    topic = {"Ref": draft.id("Notifications/AlarmTopic")}
    draft.statements(TOPIC_POLICY).append(
        {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sns:Subscribe", "Resource": topic}
    )


@mutant("broaden")
def alarms_of_every_account_may_publish(draft: Draft) -> None:
    statement = next(item for item in draft.statements(TOPIC_POLICY) if item["Effect"] == "Allow")
    del statement["Condition"]["StringEquals"]


@mutant("broaden", "exposure")
def plain_http_is_denied_only_for_reading(draft: Draft) -> None:
    deny_of(draft, OUT_POLICY)["Action"] = "s3:Get*"


@mutant("broaden", "exposure")
def plain_http_is_denied_only_to_one_account(draft: Draft) -> None:
    deny_of(draft, OUT_POLICY)["Principal"] = {"AWS": "123456789012"}


@mutant("broaden", "exposure")
def topic_policy_is_removed(draft: Draft) -> None:
    draft.remove("Notifications/SuccessTopic/Policy")


@mutant("broaden", "exposure")
def bucket_policy_is_detached(draft: Draft) -> None:
    draft.properties(OUT_POLICY)["Bucket"] = {"Ref": draft.id(IN)}


@mutant("broaden", "exposure")
def topic_policy_is_detached(draft: Draft) -> None:
    draft.properties(TOPIC_POLICY)["Topics"] = [{"Ref": draft.id("Notifications/ErrorTopic")}]


@mutant("broaden")
def condition_known_only_at_deploy_time(draft: Draft) -> None:
    statement = next(item for item in draft.statements(CLIENT) if item["Action"] == "s3:ListBucket")
    statement["Condition"] = {"StringLike": {"s3:prefix": {"Fn::ImportValue": "Prefixes"}}}


@mutant("broaden")
def document_known_only_at_deploy_time(draft: Draft) -> None:
    policy = draft.properties(ROLE_POLICY)["PolicyDocument"]
    draft.properties(ROLE_POLICY)["PolicyDocument"] = {"Fn::If": ["Wide", policy, policy]}


@mutant("broaden")
def policy_without_a_document(draft: Draft) -> None:
    del draft.properties(ROLE_POLICY)["PolicyDocument"]


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
def new_key_that_everyone_may_use(draft: Draft) -> None:
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}
    draft.add("Key", "AWS::KMS::Key", KeyPolicy={"Version": "2012-10-17", "Statement": [statement]})
