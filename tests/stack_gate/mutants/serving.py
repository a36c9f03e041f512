"""Changes of the SageMaker model, of environments and outputs, and of what starts instances."""

from typing import Any

from tests.stack_gate.mutants.newcomers import THEIR_KEY
from tests.stack_gate.mutants.registry import (
    CLIENT,
    OUT,
    STAGE_FUNCTION,
    STAGED,
    mutant,
    rules_of,
    variant,
)
from tests.stack_gate.mutants.stacks import Draft

MODEL, WAKE, WAKE_ALARM = "AsyncEndpoint/Model", "ScaleToZero/WakeFromZero", "ScaleToZero/BacklogWithoutCapacity"


def container(draft: Draft) -> dict[str, Any]:
    return draft.properties(MODEL)["PrimaryContainer"]


def variables(draft: Draft) -> dict[str, Any]:
    return container(draft)["Environment"]


# the model


@mutant("exposure")
def image_of_another_account(draft: Draft) -> None:
    container(draft)["Image"] = "999988887777.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-inference:2.6.0"


@mutant("exposure")
def image_of_another_repository(draft: Draft) -> None:
    container(draft)["Image"] = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0"


@mutant("exposure")
def image_of_another_host(draft: Draft) -> None:
    container(draft)["Image"] = f"ghcr.io/theirs/{container(draft)['Image']}"


@mutant("exposure")
def second_container(draft: Draft) -> None:
    first = draft.properties(MODEL).pop("PrimaryContainer")
    draft.properties(MODEL)["Containers"] = [first, {"Image": "ghcr.io/theirs/proxy:1"}]


@mutant("exposure")
def containers_take_weights_from_elsewhere(draft: Draft) -> None:
    first = draft.properties(MODEL).pop("PrimaryContainer")
    draft.properties(MODEL)["Containers"] = [{**first, "ModelDataUrl": "s3://theirs/model.tar.gz"}]


@mutant("exposure")
def more_model_data_from_elsewhere(draft: Draft) -> None:
    source = {"S3Uri": "s3://theirs/adapter/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container(draft)["AdditionalModelDataSources"] = [{"ChannelName": "adapter", "S3DataSource": source}]


@mutant("exposure")
def model_package_in_place_of_the_container(draft: Draft) -> None:
    package = "arn:aws:sagemaker:us-east-1:999988887777:model-package/theirs/1"
    draft.properties(MODEL)["PrimaryContainer"] = {"ModelPackageName": package}


@mutant("exposure")
def image_is_pulled_through_another_registry(draft: Draft) -> None:
    container(draft)["ImageConfig"] = {"RepositoryAccessMode": "Vpc"}


@mutant("exposure")
def model_comes_from_the_hub_directly(draft: Draft) -> None:
    variables(draft)["HF_MODEL_ID"] = "theirs/musicgen"


@mutant("exposure")
def aws_is_another_host(draft: Draft) -> None:
    variables(draft)["AWS_ENDPOINT_URL_S3"] = "https://s3.example"


@mutant("exposure")
def traffic_goes_through_a_proxy(draft: Draft) -> None:
    variables(draft)["HTTPS_PROXY"] = "http://proxy.example:3128"


@mutant("exposure")
def function_talks_through_a_proxy(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Environment"]["Variables"]["https_proxy"] = "http://proxy.example:3128"


@mutant("exposure")
def management_api_listens_to_all(draft: Draft) -> None:
    variables(draft)["MMS_MANAGEMENT_ADDRESS"] = "http://0.0.0.0:8082"


@mutant("exposure")
def another_handler_serves(draft: Draft) -> None:
    variables(draft)["MMS_DEFAULT_SERVICE_HANDLER"] = "other.service:handle"


# secrets


@mutant("exposure")
def token_in_the_environment(draft: Draft) -> None:
    variables(draft)["MUSICGEN_DECODER_DTYPE"] = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ012345"


@mutant("exposure")
def access_key_in_an_output(draft: Draft) -> None:
    draft.template["Outputs"]["Login"] = {"Value": "AKIA" + "ABCDEFGHIJKLMNOP"}


@mutant("exposure")
def random_password_in_an_output(draft: Draft) -> None:
    draft.template["Outputs"]["Login"] = {"Value": "q7Rz0PkW3xVb9TnL5mYc2HdF"}


@mutant("broaden", "exposure")
def secret_key_in_an_output(draft: Draft) -> None:
    draft.add("Friend", "AWS::IAM::User")
    draft.add("FriendKey", "AWS::IAM::AccessKey", UserName={"Ref": "Friend"})
    draft.template["Outputs"]["Login"] = {"Value": {"Fn::GetAtt": ["FriendKey", "SecretAccessKey"]}}


@mutant("exposure")
def secret_is_resolved_into_the_environment(draft: Draft) -> None:
    variables(draft)["MUSICGEN_ENDPOINT"] = "{{resolve:secretsmanager:hub:SecretString:token}}"


@mutant("exposure")
def password_in_a_proxy_address(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Environment"]["Variables"]["HF_ENDPOINT"] = "https://me:secret@huggingface.co"


# code


@mutant("exposure")
def code_of_no_asset(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Code"]["S3Key"] = "2" * 64 + ".zip"


@mutant("exposure", "broaden")
def bundle_of_no_asset(draft: Draft) -> None:
    draft.properties(STAGED)["CodeKey"] = "2" * 64 + ".zip"


@mutant("exposure")
def another_version_of_the_code(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Code"]["S3ObjectVersion"] = "older"


# what starts instances, and how requests are answered


@mutant("service")
def wake_up_alarm_is_removed(draft: Draft) -> None:
    draft.remove(WAKE_ALARM)


@mutant("service")
def wake_up_policy_is_removed(draft: Draft) -> None:
    draft.remove(WAKE)


@mutant("money")
def wake_up_alarm_wakes_nothing(draft: Draft) -> None:
    draft.properties(WAKE_ALARM)["AlarmActions"] = [{"Ref": draft.id("Notifications/AlarmTopic")}]
    draft.properties(WAKE_ALARM)["OKActions"] = [{"Ref": draft.id(WAKE)}]


@mutant("service")
def wake_up_alarm_is_disabled(draft: Draft) -> None:
    draft.properties(WAKE_ALARM)["ActionsEnabled"] = False


@mutant("money")
def wake_up_alarm_always_fires(draft: Draft) -> None:
    draft.properties(WAKE_ALARM)["Threshold"] = 0


@mutant("money")
def wake_up_alarm_fires_without_data(draft: Draft) -> None:
    draft.properties(WAKE_ALARM)["TreatMissingData"] = "breaching"


@mutant("money")
def wake_up_alarm_is_a_constant(draft: Draft) -> None:
    alarm = draft.properties(WAKE_ALARM)
    for name in ("MetricName", "Namespace", "Period", "Statistic", "Dimensions"):
        del alarm[name]
    alarm["Metrics"] = [{"Id": "e1", "Expression": "1", "ReturnData": True}]


@mutant("service")
def alarm_that_always_fires(draft: Draft) -> None:
    draft.properties("Monitoring/QueueAge")["Threshold"] = 0


@mutant("exposure")
def alarm_notifies_a_foreign_topic(draft: Draft) -> None:
    draft.properties("Monitoring/QueueAge")["AlarmActions"].append("arn:aws:sns:us-east-1:999988887777:theirs")


@mutant("exposure")
def foreign_key_appears_on_a_bucket(draft: Draft) -> None:
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": THEIR_KEY}
    rule = {"ServerSideEncryptionByDefault": default}
    draft.properties(OUT)["BucketEncryption"] = {"ServerSideEncryptionConfiguration": [rule]}


@mutant("exposure")
def foreign_key_appears_on_a_topic(draft: Draft) -> None:
    draft.properties("Notifications/ErrorTopic")["KmsMasterKeyId"] = THEIR_KEY


@mutant("exposure")
def foreign_key_appears_on_the_disks(draft: Draft) -> None:
    draft.properties("AsyncEndpoint/Config")["KmsKeyId"] = THEIR_KEY


@mutant("replace")
def managed_policy_gets_another_description(draft: Draft) -> None:
    draft.properties(CLIENT)["Description"] = "Something else"


@mutant("retention")
def versions_are_kept_for_ever(draft: Draft) -> None:
    draft.properties(OUT)["VersioningConfiguration"] = {"Status": "Enabled"}


@mutant("retention")
def versions_expire(draft: Draft) -> None:
    """Needed with versioning, but a deletion all the same: the gate cannot tell that there are no versions yet."""
    expiry = {"NoncurrentVersionExpiration": {"NoncurrentDays": 30}}
    draft.properties(OUT)["VersioningConfiguration"] = {"Status": "Enabled"}
    rules_of(draft, OUT).append({"Id": "Old", "Status": "Enabled", **expiry})


@mutant("service")
def staging_gets_less_time(draft: Draft) -> None:
    draft.properties(STAGED)["ServiceTimeout"] = "60"


@mutant("service")
def function_may_not_run(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["ReservedConcurrentExecutions"] = 0


@mutant("service")
def function_gets_less_memory(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["MemorySize"] = 512


@mutant("service")
def function_gets_less_time(draft: Draft) -> None:
    draft.properties(STAGE_FUNCTION)["Timeout"] = 3


@mutant("service")
def more_requests_at_once(draft: Draft) -> None:
    client = draft.properties("AsyncEndpoint/Config")["AsyncInferenceConfig"]["ClientConfig"]
    client["MaxConcurrentInvocationsPerInstance"] = 64


@mutant("service")
def container_gets_less_time_to_start(draft: Draft) -> None:
    variant(draft)["ContainerStartupHealthCheckTimeoutInSeconds"] = 60
