"""Changes that weaken a protection, or that the gate has no rules for."""

from tests.stack_gate.mutants.registry import IN, OUT, STAGE_FUNCTION, STAGED, mutant, variant
from tests.stack_gate.mutants.stacks import Draft

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
    draft.properties(OUT)["ReplicationConfiguration"] = {"Rules": [rule]}


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
def outsider_subscribes(draft: Draft) -> None:
    topic = {"Ref": draft.id("Notifications/SuccessTopic")}
    draft.add("Outsider", "AWS::SNS::Subscription", Protocol="https", Endpoint="https://example.com", TopicArn=topic)


@mutant("exposure")
def messages_go_to_a_foreign_topic(draft: Draft) -> None:
    output = draft.properties("AsyncEndpoint/Config")["AsyncInferenceConfig"]["OutputConfig"]
    output["NotificationConfig"]["SuccessTopic"] = "arn:aws:sns:us-east-1:999988887777:theirs"


@mutant("exposure")
def code_comes_from_another_bucket(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Code"]["S3Bucket"] = "theirs"


@mutant("exposure")
def weights_come_from_another_bucket(draft: Draft) -> None:
    draft.properties("AsyncEndpoint/Model")["PrimaryContainer"]["ModelDataUrl"] = "s3://theirs/model.tar.gz"


@mutant("exposure")
def model_files_come_from_another_bucket(draft: Draft) -> None:
    container = draft.properties("AsyncEndpoint/Model")["PrimaryContainer"]
    del container["ModelDataUrl"]
    source = {"S3Uri": "s3://theirs/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container["ModelDataSource"] = {"S3DataSource": source}


@mutant("exposure")
def bundle_comes_from_another_bucket(draft: Draft) -> None:
    draft.properties(STAGED)["CodeBucket"] = "theirs"


@mutant("exposure")
def hub_is_another_host(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Environment"]["Variables"]["HF_ENDPOINT"] = "https://hub.example"


@mutant("exposure")
def function_gets_a_foreign_layer(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Layers"] = ["arn:aws:lambda:us-east-1:999988887777:layer:helpful:1"]


@mutant("exposure")
def new_bucket_without_protection(draft: Draft) -> None:
    block = dict.fromkeys(("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls"), True)
    draft.add("Extra", "AWS::S3::Bucket", PublicAccessBlockConfiguration=block)


# unknown to the gate


@mutant("unknown")
def new_resource_of_an_unknown_type(draft: Draft) -> None:
    draft.add("Machine", "AWS::EC2::Instance", ImageId="ami-0", InstanceType="p5.48xlarge")


@mutant("unknown")
def template_gets_a_transform(draft: Draft) -> None:
    draft.template["Transform"] = "AWS::Serverless-2016-10-31"


@mutant("unknown")
def resource_depends_on_a_condition(draft: Draft) -> None:
    draft.resource("Monitoring/QueueAge")["Condition"] = "Sometimes"
