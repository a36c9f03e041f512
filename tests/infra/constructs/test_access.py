"""Least privilege: every statement of every role and policy, and what buckets and topics deny."""

from typing import Any

from tests.infra.templates import Find, OfType, Synthesise, as_list, plain

Statement = tuple[set[str], set[str], dict[str, Any]]  # actions, resources, conditions


def statements(policy: dict[str, Any]) -> list[Statement]:
    """Return actions, resources and conditions of a policy's statements, all of which must allow."""
    found = policy["PolicyDocument"]["Statement"]
    assert all(statement["Effect"] == "Allow" for statement in found)
    return [
        (set(as_list(s["Action"])), {plain(r) for r in as_list(s["Resource"])}, s.get("Condition", {})) for s in found
    ]


ARTIFACTS, INPUTS, OUTPUTS = "<StorageArtifactBucket>", "<StorageInputBucket>", "<StorageOutputBucket>"
RESULTS = {f"{OUTPUTS}/{prefix}/*" for prefix in ("out", "failures", "audio")}
CANCELLATIONS = {f"{OUTPUTS}/cancel/*"}
TOPICS = {"<NotificationsSuccessTopic>", "<NotificationsErrorTopic>"}


def test_execution_role_allows_exactly_what_serving_needs(only: Find) -> None:
    log_group = "arn:aws:logs:us-east-1:<AccountId>:log-group:/aws/sagemaker/Endpoints/musicgen-dev:*"
    namespaces = {"StringEquals": {"cloudwatch:namespace": ["AWS/SageMaker", "/aws/sagemaker/Endpoints"]}}
    assert statements(only("AWS::IAM::Policy", "AsyncEndpoint")) == [
        (
            {"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"},
            {"arn:aws:ecr:us-east-1:763104351884:repository/huggingface-pytorch-inference"},
            {},
        ),
        ({"ecr:GetAuthorizationToken"}, {"*"}, {}),
        ({"logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"}, {log_group}, {}),
        ({"cloudwatch:PutMetricData"}, {"*"}, namespaces),
        (
            {"s3:GetObject"},
            {f"{ARTIFACTS}/models/MusicGen-dev/StagedModel/*", f"{INPUTS}/in/*", f"{OUTPUTS}/audio/*"} | CANCELLATIONS,
            {},
        ),
        ({"s3:PutObject", "s3:AbortMultipartUpload"}, RESULTS, {}),
        ({"sns:Publish"}, TOPICS, {}),
    ]


def test_only_this_accounts_sagemaker_assumes_the_execution_role(only: Find) -> None:
    (statement,) = only("AWS::IAM::Role", "AsyncEndpoint")["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    source = plain(statement["Condition"]["ArnLike"]["aws:SourceArn"])
    assert source == "arn:aws:sagemaker:us-east-1:<AccountId>:*"


def test_staging_role_reaches_only_the_bundle_and_its_own_prefix(only: Find) -> None:
    prefix = "models/MusicGen-dev/StagedModel/*"
    bundle = only("Custom::StagedModel")["CodeKey"]
    found = statements(only("AWS::IAM::Policy", "StagedModelRole"))
    assert found == [
        ({"logs:CreateLogStream", "logs:PutLogEvents"}, {"<StagedModelLogs>"}, {}),
        (
            {
                "s3:GetObject",
                "s3:PutObject",
                "s3:DeleteObject",
                "s3:AbortMultipartUpload",
                "s3:ListMultipartUploadParts",
            },
            {f"{ARTIFACTS}/{prefix}"},
            {},
        ),
        ({"s3:ListBucket"}, {ARTIFACTS}, {"StringLike": {"s3:prefix": [prefix]}}),
        ({"s3:ListBucketMultipartUploads"}, {ARTIFACTS}, {}),
        ({"s3:GetObject"}, {f"arn:aws:s3:::cdk-hnb659fds-assets-<AccountId>-us-east-1/{bundle}"}, {}),
    ]


def test_staging_function_may_invoke_itself_without_lambdas_loop_limit(only: Find) -> None:
    found = statements(only("AWS::IAM::Policy", "StagedModelHandOver"))
    assert found == [({"lambda:InvokeFunction"}, {"<StagedModelFunction>"}, {})]
    assert only("AWS::Lambda::Function", "StagedModel")["RecursiveLoop"] == "Allow"


def test_client_may_send_and_cancel_requests_fetch_results_and_get_404_for_missing_keys(only: Find) -> None:
    assert statements(only("AWS::IAM::ManagedPolicy")) == [
        ({"s3:PutObject"}, {f"{INPUTS}/in/*"} | CANCELLATIONS, {}),
        ({"s3:GetObject"}, RESULTS, {}),
        ({"s3:ListBucket"}, {OUTPUTS}, {"StringLike": {"s3:prefix": ["out/*", "failures/*", "audio/*"]}}),
        ({"sagemaker:InvokeEndpointAsync"}, {"arn:aws:sagemaker:us-east-1:<AccountId>:endpoint/musicgen-dev"}, {}),
    ]


def test_external_buckets_are_read_and_written_only_under_audio(synthesise: Synthesise) -> None:
    template = synthesise(external_buckets="sagemaker-us-east-1-123456789012").to_json()
    policies = [r["Properties"] for k, r in template["Resources"].items() if k.startswith("AsyncEndpointRoleDefault")]
    granted = {resource for _, resources, _ in statements(policies[0]) for resource in resources}
    named = {resource for resource in granted if "sagemaker-us-east-1-123456789012" in resource}
    assert named == {"arn:aws:s3:::sagemaker-us-east-1-123456789012/audio/*"}


def test_no_role_may_create_a_log_group_or_has_a_managed_policy(dev_template: dict[str, Any], of_type: OfType) -> None:
    """AWSLambdaBasicExecutionRole would let a function recreate its deleted log group."""
    roles = of_type("AWS::IAM::Role")
    assert len(roles) == 4
    assert all(not role.get("ManagedPolicyArns") for role in roles)
    assert "logs:CreateLogGroup" not in str(dev_template)


def test_buckets_are_private_encrypted_and_deny_plain_http(of_type: OfType) -> None:
    for bucket, policy in zip(of_type("AWS::S3::Bucket"), of_type("AWS::S3::BucketPolicy"), strict=True):
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
        refusal = policy["PolicyDocument"]["Statement"][0]
        assert (refusal["Effect"], refusal["Action"]) == ("Deny", "s3:*")
        assert refusal["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_topics_deny_plain_http_and_allow_this_accounts_alarms(of_type: OfType) -> None:
    written = [s for policy in of_type("AWS::SNS::TopicPolicy") for s in policy["PolicyDocument"]["Statement"]]
    denying = [statement for statement in written if statement["Effect"] == "Deny"]
    assert [s["Condition"] for s in denying] == [{"Bool": {"aws:SecureTransport": "false"}}] * 3
    (alarms,) = (statement for statement in written if statement["Effect"] == "Allow")
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert plain(alarms["Condition"]["ArnLike"]["aws:SourceArn"]) == "arn:aws:cloudwatch:us-east-1:<AccountId>:alarm:*"
