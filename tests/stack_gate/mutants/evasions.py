"""Changes of policies, conditions and tags that a comparison of plain IAM JSON reads as harmless."""

from tests.stack_gate.mutants.registry import (
    CLIENT,
    OUT,
    OUT_POLICY,
    ROLE,
    ROLE_POLICY,
    STAGE_ROLE,
    TOPIC_POLICY,
    mutant,
)
from tests.stack_gate.mutants.stacks import Draft

MACRO = {"Name": "AWS::Include", "Parameters": {"Location": "s3://theirs/more.json"}}
WIDE = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


@mutant("broaden", "unknown")
def macro_in_a_policy(draft: Draft) -> None:
    draft.properties(ROLE_POLICY)["PolicyDocument"]["Fn::Transform"] = MACRO


@mutant("broaden", "unknown")
def macro_in_a_statement(draft: Draft) -> None:
    draft.statements(CLIENT)[0]["Fn::Transform"] = MACRO


@mutant("broaden", "unknown")
def macro_in_a_condition(draft: Draft) -> None:
    draft.statements(CLIENT)[0].setdefault("Condition", {})["StringEquals"] = {"Fn::Transform": MACRO}


@mutant("broaden", "unknown")
def macro_in_a_trust_policy(draft: Draft) -> None:
    draft.trust(ROLE)["Fn::Transform"] = MACRO


@mutant("broaden", "unknown", "exposure")
def macro_in_a_bucket_policy(draft: Draft) -> None:
    draft.properties(OUT_POLICY)["PolicyDocument"]["Fn::Transform"] = MACRO


@mutant("broaden", "unknown")
def macro_in_an_inline_policy(draft: Draft) -> None:
    policy = {"PolicyName": "More", "PolicyDocument": {"Version": "2012-10-17", "Statement": [WIDE]}}
    draft.properties(ROLE)["Policies"] = [{**policy, "Fn::Transform": MACRO}]


@mutant("unknown")
def macro_in_an_alarm(draft: Draft) -> None:
    draft.properties("Monitoring/QueueAge")["Fn::Transform"] = MACRO


@mutant("unknown")
def macro_in_an_output(draft: Draft) -> None:
    draft.template["Outputs"]["More"] = {"Value": {"Fn::Transform": MACRO}}


@mutant("unknown")
def macro_in_place_of_resources(draft: Draft) -> None:
    draft.resources["Fn::ForEach::More"] = ["Name", ["A"], {"${Name}": {"Type": "AWS::SNS::Topic"}}]


@mutant("broaden")
def unknown_key_in_a_statement(draft: Draft) -> None:
    draft.statements(CLIENT)[0]["Also"] = "s3:*"


@mutant("broaden", "exposure")
def unknown_key_in_a_topic_policy(draft: Draft) -> None:
    draft.properties(TOPIC_POLICY)["PolicyDocument"]["Statements"] = [WIDE]


@mutant("broaden")
def unknown_operator_in_a_condition(draft: Draft) -> None:
    draft.statements(CLIENT)[0]["Condition"] = {"StringLikely": {"aws:PrincipalTag/any": "x"}}


@mutant("broaden")
def unknown_version_of_a_policy(draft: Draft) -> None:
    draft.properties(ROLE_POLICY)["PolicyDocument"]["Version"] = "2030-01-01"


@mutant("broaden")
def denial_loses_its_variables_with_the_version(draft: Draft) -> None:
    draft.properties(OUT_POLICY)["PolicyDocument"]["Version"] = "2008-10-17"


@mutant("unknown")
def parameter_default_flips_a_condition(draft: Draft) -> None:
    draft.template["Parameters"]["Wide"]["Default"] = "yes"


@mutant("unknown")
def condition_is_dropped(draft: Draft) -> None:
    del draft.resource("Monitoring/ExpiredRequests")["Condition"]


@mutant("broaden")
def role_gets_the_tag_that_a_policy_asks_for(draft: Draft) -> None:
    draft.properties(STAGE_ROLE)["Tags"] = [{"Key": "Squad", "Value": "music"}]


@mutant("broaden")
def bucket_gets_the_tag_that_a_policy_asks_for(draft: Draft) -> None:
    draft.properties(OUT)["Tags"].append({"Key": "squad", "Value": "music"})


@mutant("broaden")
def statement_too_large_to_judge(draft: Draft) -> None:
    names = [f"arn:aws:s3:::b{index}/*" for index in range(150)]
    actions = [f"s3:Get{index}*" for index in range(150)]
    values = [f"v{index}" for index in range(20)]
    condition = {"StringLike": {"s3:prefix": values}}
    draft.statements(CLIENT).append({"Effect": "Allow", "Action": actions, "Resource": names, "Condition": condition})


@mutant("broaden")
def policy_larger_than_any(draft: Draft) -> None:
    names = [f"arn:aws:s3:::bucket-{index}/*" for index in range(9000)]
    draft.statements(CLIENT).append({"Effect": "Deny", "Action": "s3:GetObject", "Resource": names})
