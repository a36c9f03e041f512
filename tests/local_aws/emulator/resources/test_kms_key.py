"""AWS::KMS::Key: created, updated, scheduled for deletion."""

import json
from typing import Any

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "kms:*", "Resource": "*"}
    ],
}


def key(**properties: Any) -> dict[str, Any]:
    bucket = {
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [
                {
                    "BucketKeyEnabled": True,
                    "ServerSideEncryptionByDefault": {
                        "SSEAlgorithm": "aws:kms",
                        "KMSMasterKeyID": {"Fn::GetAtt": ["Key", "Arn"]},
                    },
                }
            ]
        }
    }
    return {
        "Key": {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": POLICY, "PendingWindowInDays": 7, **properties}},
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": bucket},
    }


def test_key_is_created_updated_in_place_and_scheduled_for_deletion(stack: Any) -> None:
    kms, s3 = stack.aws.client("kms"), stack.aws.client("s3")
    tags = [{"Key": "team", "Value": "audio"}]
    assert stack.deploy(key(Description="first", EnableKeyRotation=True, Tags=tags)) == "CREATE_COMPLETE"
    key_id, bucket = stack.physical_id("Key"), stack.physical_id("Bucket")
    made = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert (made["Description"], made["KeyState"]) == ("first", "Enabled")
    assert kms.get_key_rotation_status(KeyId=key_id)["KeyRotationEnabled"] is True
    assert json.loads(kms.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"]) == POLICY
    assert kms.list_resource_tags(KeyId=key_id)["Tags"] == [{"TagKey": "team", "TagValue": "audio"}]
    (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == made["Arn"]

    assert stack.deploy(key(Description="second")) == "UPDATE_COMPLETE"
    assert stack.physical_id("Key") == key_id
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["Description"] == "second"
    assert kms.get_key_rotation_status(KeyId=key_id)["KeyRotationEnabled"] is False
    assert kms.list_resource_tags(KeyId=key_id)["Tags"] == []

    assert stack.delete() == "DELETE_COMPLETE"
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "PendingDeletion"
