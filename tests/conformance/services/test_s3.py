"""Objects and buckets: conditions, permissions, versions, integrity, limits."""
# pyright: reportTypedDictNotRequiredAccess=false
# (errors always carry their metadata)

import hashlib
import time
from typing import Any

import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from conformance.behaviour import documented
from conformance.workspace import Workspace, allow, error_code, policy
from tests.conformance.credentials import client_with

GUIDE = "https://docs.aws.amazon.com/AmazonS3/latest/userguide"
API = "https://docs.aws.amazon.com/AmazonS3/latest/API"
WRITES = f"{GUIDE}/conditional-writes.html"
ERRORS = f"{API}/ErrorResponses.html"
LIFECYCLE = f"{API}/API_PutBucketLifecycleConfiguration.html"


@pytest.fixture(scope="module")
def s3(workspace: Workspace) -> Any:
    """An administrator's client."""
    return workspace.client("s3")


@pytest.fixture(scope="module")
def bucket(workspace: Workspace) -> str:
    """A bucket without versioning that all tests share; each uses keys of its own."""
    return workspace.bucket()


@pytest.fixture(scope="module")
def versioned(workspace: Workspace, s3: Any) -> str:
    """A bucket with versioning that all tests share."""
    name = workspace.bucket()
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def status(call: Any, **arguments: Any) -> int:
    """Return the HTTP status of a call's answer or error."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        answer = error.response
    return answer["ResponseMetadata"]["HTTPStatusCode"]


# ---- conditions --------------------------------------------------------------------------------------------


@documented(WRITES)
def test_a_conditional_write_is_refused_if_the_object_exists(s3: Any, bucket: str) -> None:
    """A PutObject with If-None-Match: * fails with 412 Precondition Failed if the key exists already."""
    put = {"Bucket": bucket, "Key": "once", "IfNoneMatch": "*"}
    s3.put_object(**put, Body=b"first")
    code, _ = error_code(lambda: s3.put_object(**put, Body=b"second"))
    assert code == "PreconditionFailed"
    assert s3.get_object(Bucket=bucket, Key="once")["Body"].read() == b"first"


@documented(WRITES)
def test_a_conditional_write_compares_the_etag(s3: Any, bucket: str) -> None:
    """A PutObject with If-Match succeeds only if the ETag is the object's, and else fails with 412."""
    etag = s3.put_object(Bucket=bucket, Key="swap", Body=b"1")["ETag"]
    assert status(s3.put_object, Bucket=bucket, Key="swap", Body=b"2", IfMatch=etag) == 200
    assert status(s3.put_object, Bucket=bucket, Key="swap", Body=b"3", IfMatch=etag) == 412


@documented(WRITES)
def test_a_conditional_write_to_an_absent_key_is_404(s3: Any, bucket: str) -> None:
    """With If-Match, the operation fails with 404 Not Found if there is no current version with the same name."""
    assert status(s3.put_object, Bucket=bucket, Key="absent", Body=b"", IfMatch='"0"') == 404


@documented(WRITES)
def test_a_deleted_version_does_not_count_as_existing(s3: Any, versioned: str) -> None:
    """With If-None-Match, the write succeeds if the current object version is a delete marker."""
    s3.put_object(Bucket=versioned, Key="gone", Body=b"1")
    s3.delete_object(Bucket=versioned, Key="gone")
    assert status(s3.put_object, Bucket=versioned, Key="gone", Body=b"2", IfNoneMatch="*") == 200


@documented(f"{API}/API_GetObject.html")
def test_an_unchanged_object_is_not_sent_again(s3: Any, bucket: str) -> None:
    """A GetObject whose If-None-Match is the object's ETag is answered with 304 Not Modified."""
    etag = s3.put_object(Bucket=bucket, Key="same", Body=b"1")["ETag"]
    assert status(s3.get_object, Bucket=bucket, Key="same", IfNoneMatch=etag) == 304


@documented(f"{API}/API_GetObject.html")
def test_a_changed_object_is_refused_by_if_match(s3: Any, bucket: str) -> None:
    """A GetObject whose If-Match is not the object's ETag fails with 412 Precondition Failed."""
    s3.put_object(Bucket=bucket, Key="changed", Body=b"1")
    assert status(s3.get_object, Bucket=bucket, Key="changed", IfMatch='"0"') == 412


# ---- permissions -------------------------------------------------------------------------------------------


@documented(f"{API}/API_GetObject.html")
def test_an_absent_key_is_404_for_who_may_list(workspace: Workspace, bucket: str) -> None:
    """With s3:ListBucket on the bucket, a GetObject of an absent key is answered with 404."""
    arn = f"arn:aws:s3:::{bucket}"
    reader = client_with(
        workspace, "s3", [allow("s3:GetObject", resource=f"{arn}/*"), allow("s3:ListBucket", resource=arn)]
    )
    assert error_code(lambda: reader.get_object(Bucket=bucket, Key="absent"))[0] == "NoSuchKey"


@documented(f"{API}/API_GetObject.html")
def test_an_absent_key_is_403_for_who_may_not_list(workspace: Workspace, bucket: str) -> None:
    """Without s3:ListBucket on the bucket, a GetObject of an absent key is answered with 403."""
    reader = client_with(workspace, "s3", [allow("s3:GetObject", resource=f"arn:aws:s3:::{bucket}/*")])
    assert error_code(lambda: reader.get_object(Bucket=bucket, Key="absent"))[0] == "AccessDenied"


@documented(f"{API}/API_HeadObject.html")
def test_the_head_of_an_absent_key_is_404(s3: Any, bucket: str) -> None:
    """If a HEAD request generates an error, it returns a generic code such as 404 Not Found, without a body."""
    with pytest.raises(ClientError) as error:
        s3.head_object(Bucket=bucket, Key="absent")
    assert error.value.response.get("Error", {}).get("Code") == "404"


@documented(f"{GUIDE}/amazon-s3-policy-keys.html")
def test_a_bucket_policy_sees_secure_transport(workspace: Workspace, s3: Any) -> None:
    """A bucket policy's aws:SecureTransport is true for requests over TLS."""
    bucket = workspace.bucket()
    arn = f"arn:aws:s3:::{bucket}"
    s3.put_object(Bucket=bucket, Key="open/k", Body=b"1")
    s3.put_object(Bucket=bucket, Key="closed/k", Body=b"1")
    refuse = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject"}
    statements = [
        {**refuse, "Resource": f"{arn}/{folder}/*", "Condition": {"Bool": {"aws:SecureTransport": value}}}
        for folder, value in (("open", "false"), ("closed", "true"))
    ]
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(statements))
    reader = client_with(workspace, "s3", [allow("s3:GetObject", "s3:ListBucket", resource=[arn, f"{arn}/*"])])
    assert status(reader.get_object, Bucket=bucket, Key="open/k") == 200
    assert status(reader.get_object, Bucket=bucket, Key="closed/k") == 403


@pytest.fixture(scope="module")
def signer(workspace: Workspace) -> Any:
    """A client that presigns with Signature Version 4."""
    return workspace.client("s3", config=Config(signature_version="s3v4"))


def fetch(workspace: Workspace, url: str) -> tuple[int, str]:
    """Fetch a URL without any credentials; return the status and the text."""
    session = URLLib3Session(verify=workspace.target.arguments.get("verify", True))
    answer = session.send(AWSRequest("GET", url).prepare())
    return answer.status_code, answer.text


@documented(f"{GUIDE}/using-presigned-url.html")
def test_a_presigned_url_ends(workspace: Workspace, s3: Any, signer: Any, bucket: str) -> None:
    """S3 checks the expiration date and time of a signed URL at the time of the HTTP request."""
    s3.put_object(Bucket=bucket, Key="shared", Body=b"content")
    url = signer.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "shared"}, ExpiresIn=2)
    assert fetch(workspace, url) == (200, "content")
    time.sleep(3)
    assert fetch(workspace, url)[0] == 403


@documented(f"{API}/sigv4-query-string-auth.html")
def test_a_presigned_url_lasts_a_week_at_most(workspace: Workspace, s3: Any, signer: Any, bucket: str) -> None:
    """X-Amz-Expires: the minimum value is 1, and the maximum 604800 seconds, seven days."""
    s3.put_object(Bucket=bucket, Key="long", Body=b"content")
    url = signer.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "long"}, ExpiresIn=604801)
    assert fetch(workspace, url)[0] in (400, 403)


# ---- ranges ------------------------------------------------------------------------------------------------


@documented(f"{GUIDE}/range-get-olap.html")
def test_a_range_is_partial_content(s3: Any, bucket: str) -> None:
    """A GetObject with a Range is answered with 206 Partial Content and the bytes of that range."""
    s3.put_object(Bucket=bucket, Key="range", Body=b"0123456789")
    answer = s3.get_object(Bucket=bucket, Key="range", Range="bytes=2-4")
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read()) == (206, b"234")
    assert answer["ContentRange"] == "bytes 2-4/10"


@documented(ERRORS)
def test_a_range_behind_the_end_is_416(s3: Any, bucket: str) -> None:
    """InvalidRange: the requested range cannot be satisfied; status 416 Requested Range Not Satisfiable."""
    s3.put_object(Bucket=bucket, Key="short", Body=b"0123456789")
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="short", Range="bytes=10-20")
    assert error.value.response.get("Error", {}).get("Code") == "InvalidRange"
    assert status(s3.get_object, Bucket=bucket, Key="short", Range="bytes=10-20") == 416


# ---- integrity and limits ----------------------------------------------------------------------------------


@documented(ERRORS)
def test_a_wrong_md5_is_a_bad_digest(s3: Any, bucket: str) -> None:
    """BadDigest: the Content-MD5 value that you specified did not match what the server received."""
    wrong = "1B2M2Y8AsgTpgAmY7PhCfg=="  # of no bytes
    put = {"Bucket": bucket, "Key": "md5", "Body": b"content", "ContentMD5": wrong}
    assert error_code(lambda: s3.put_object(**put))[0] == "BadDigest"
    assert status(s3.head_object, Bucket=bucket, Key="md5") == 404


@documented(ERRORS)
@pytest.mark.parametrize("field", ["ChecksumSHA256", "ChecksumSHA1", "ChecksumCRC32"])
def test_a_wrong_checksum_is_a_bad_digest(s3: Any, bucket: str, field: str) -> None:
    """BadDigest: the checksum value that you specified did not match what the server received."""
    lengths = {"ChecksumSHA256": 44, "ChecksumSHA1": 28, "ChecksumCRC32": 8}
    wrong = ("A" * lengths[field])[: -1 if field != "ChecksumCRC32" else -2]
    wrong += "=" * (lengths[field] - len(wrong))
    put = {"Bucket": bucket, "Key": field, "Body": b"content", field: wrong}
    assert error_code(lambda: s3.put_object(**put))[0] == "BadDigest"


@documented(f"{API}/API_Object.html")
def test_the_etag_of_a_single_upload_is_its_md5(s3: Any, bucket: str) -> None:
    """Objects created by PUT Object and encrypted by SSE-S3 have ETags that are an MD5 digest of their object data."""
    etag = s3.put_object(Bucket=bucket, Key="etag", Body=b"content")["ETag"]
    assert etag.strip('"') == hashlib.md5(b"content", usedforsecurity=False).hexdigest()


@documented(f"{GUIDE}/object-keys.html")
def test_a_key_has_at_most_1024_bytes(s3: Any, bucket: str) -> None:
    """A key is a sequence of Unicode characters whose UTF-8 encoding is at most 1,024 bytes: else KeyTooLongError."""
    assert status(s3.put_object, Bucket=bucket, Key="k" * 1024, Body=b"") == 200
    assert error_code(lambda: s3.put_object(Bucket=bucket, Key="k" * 1025, Body=b""))[0] == "KeyTooLongError"
    assert error_code(lambda: s3.put_object(Bucket=bucket, Key="ü" * 513, Body=b""))[0] == "KeyTooLongError"


@documented(f"{GUIDE}/UsingMetadata.html")
def test_user_metadata_has_at_most_2_kb(s3: Any, bucket: str) -> None:
    """User-defined metadata is limited to 2 KB: the sum of the bytes of each key and value."""
    put = {"Bucket": bucket, "Key": "metadata", "Body": b""}
    assert status(s3.put_object, **put, Metadata={"k": "v" * 2047}) == 200
    assert error_code(lambda: s3.put_object(**put, Metadata={"k": "v" * 2048}))[0] == "MetadataTooLarge"


@documented(f"{API}/API_DeleteObjects.html")
def test_a_bulk_deletion_has_at_most_1000_keys(s3: Any, bucket: str) -> None:
    """A DeleteObjects request can contain a list of up to 1,000 keys."""
    keys = [{"Key": f"bulk/{number}"} for number in range(1001)]
    assert status(s3.delete_objects, Bucket=bucket, Delete={"Objects": keys[:1000]}) == 200
    assert status(s3.delete_objects, Bucket=bucket, Delete={"Objects": keys}) == 400


@documented(f"{API}/API_DeleteObjects.html")
def test_deleting_an_absent_key_succeeds(s3: Any, bucket: str) -> None:
    """If the object specified in the request isn't found, S3 confirms the deletion by returning it as deleted."""
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "never"}]})
    assert [item["Key"] for item in answer["Deleted"]] == ["never"]


@documented(f"{API}/API_PutObjectTagging.html")
def test_an_object_has_at_most_ten_tags(s3: Any, bucket: str) -> None:
    """S3 limits the maximum number of tags to 10 tags per object."""
    s3.put_object(Bucket=bucket, Key="tags", Body=b"")
    tags = [{"Key": str(number), "Value": ""} for number in range(11)]
    assert status(s3.put_object_tagging, Bucket=bucket, Key="tags", Tagging={"TagSet": tags[:10]}) == 200
    assert status(s3.put_object_tagging, Bucket=bucket, Key="tags", Tagging={"TagSet": tags}) == 400


# ---- listing and copying -----------------------------------------------------------------------------------


@documented(f"{API}/API_ListObjectsV2.html")
def test_keys_are_listed_in_pages_in_byte_order(workspace: Workspace, s3: Any) -> None:
    """ListObjectsV2 returns objects in lexicographical order based on their key names, MaxKeys in each response."""
    bucket = workspace.bucket()
    for key in ("b", "B", "ü", "a/1"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    first = s3.list_objects_v2(Bucket=bucket, MaxKeys=3)
    assert first["IsTruncated"]
    second = s3.list_objects_v2(Bucket=bucket, MaxKeys=3, ContinuationToken=first["NextContinuationToken"])
    keys = [item["Key"] for item in [*first["Contents"], *second["Contents"]]]
    assert keys == ["B", "a/1", "b", "ü"]


@documented(f"{API}/API_ListObjectsV2.html")
def test_a_delimiter_groups_keys(workspace: Workspace, s3: Any) -> None:
    """Keys with the same string between the prefix and the delimiter are one entry of CommonPrefixes, counted once."""
    bucket = workspace.bucket()
    for key in ("in/1", "in/2", "out/1", "top"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    listed = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [item["Prefix"] for item in listed["CommonPrefixes"]] == ["in/", "out/"]
    assert [item["Key"] for item in listed["Contents"]] == ["top"]
    assert listed["KeyCount"] == 3


@documented(f"{API}/API_CopyObject.html")
def test_a_copy_keeps_metadata_unless_replaced(s3: Any, bucket: str) -> None:
    """CopyObject copies the source's metadata, unless MetadataDirective is REPLACE."""
    s3.put_object(Bucket=bucket, Key="source", Body=b"1", Metadata={"from": "source"})
    copy = {"Bucket": bucket, "CopySource": {"Bucket": bucket, "Key": "source"}}
    s3.copy_object(**copy, Key="kept")
    s3.copy_object(**copy, Key="replaced", Metadata={"from": "request"}, MetadataDirective="REPLACE")
    found = [s3.head_object(Bucket=bucket, Key=key)["Metadata"] for key in ("kept", "replaced")]
    assert found == [{"from": "source"}, {"from": "request"}]


@documented(f"{API}/API_CopyObject.html")
def test_a_copy_may_require_that_the_destination_is_new(s3: Any, bucket: str) -> None:
    """CopyObject with If-None-Match: * fails with 412 if the destination's key exists."""
    s3.put_object(Bucket=bucket, Key="original", Body=b"1")
    s3.put_object(Bucket=bucket, Key="taken", Body=b"2")
    copy = {"Bucket": bucket, "Key": "taken", "CopySource": {"Bucket": bucket, "Key": "original"}}
    assert status(s3.copy_object, **copy, IfNoneMatch="*") == 412
    assert s3.get_object(Bucket=bucket, Key="taken")["Body"].read() == b"2"


# ---- versions ----------------------------------------------------------------------------------------------


@documented(f"{GUIDE}/DeleteMarker.html")
def test_a_deletion_adds_a_delete_marker(s3: Any, versioned: str) -> None:
    """With versioning, deleting a key inserts a delete marker, and a GET without a version is answered with 404."""
    version = s3.put_object(Bucket=versioned, Key="marked", Body=b"1")["VersionId"]
    assert s3.delete_object(Bucket=versioned, Key="marked")["DeleteMarker"]
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=versioned, Key="marked")
    assert error.value.response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-delete-marker") == "true"
    assert s3.get_object(Bucket=versioned, Key="marked", VersionId=version)["Body"].read() == b"1"


@documented(f"{GUIDE}/ManagingDelMarkers.html")
def test_removing_a_delete_marker_brings_the_object_back(s3: Any, versioned: str) -> None:
    """Deleting the delete marker itself, by its version id, makes the object's previous version current again."""
    s3.put_object(Bucket=versioned, Key="back", Body=b"1")
    marker = s3.delete_object(Bucket=versioned, Key="back")["VersionId"]
    s3.delete_object(Bucket=versioned, Key="back", VersionId=marker)
    assert s3.get_object(Bucket=versioned, Key="back")["Body"].read() == b"1"


@documented(f"{API}/API_GetObject.html")
def test_reading_a_delete_marker_is_405(s3: Any, versioned: str) -> None:
    """If the specified version is a delete marker, the response is a 405 Method Not Allowed error."""
    s3.put_object(Bucket=versioned, Key="405", Body=b"1")
    marker = s3.delete_object(Bucket=versioned, Key="405")["VersionId"]
    assert status(s3.get_object, Bucket=versioned, Key="405", VersionId=marker) == 405


@documented(f"{GUIDE}/Versioning.html")
def test_an_overwritten_version_stays(s3: Any, versioned: str) -> None:
    """With versioning, overwriting an object results in a new version, and the previous one can be retrieved."""
    old = s3.put_object(Bucket=versioned, Key="two", Body=b"1")["VersionId"]
    s3.put_object(Bucket=versioned, Key="two", Body=b"2")
    assert s3.get_object(Bucket=versioned, Key="two")["Body"].read() == b"2"
    assert s3.get_object(Bucket=versioned, Key="two", VersionId=old)["Body"].read() == b"1"


# ---- buckets -----------------------------------------------------------------------------------------------


@documented(ERRORS)
def test_a_bucket_with_objects_is_not_deleted(workspace: Workspace, s3: Any) -> None:
    """BucketNotEmpty: the bucket that you tried to delete is not empty."""
    bucket = workspace.bucket()
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert error_code(lambda: s3.delete_bucket(Bucket=bucket))[0] == "BucketNotEmpty"


@documented(f"{GUIDE}/delete-bucket.html")
def test_a_bucket_with_old_versions_is_not_deleted(workspace: Workspace, s3: Any) -> None:
    """Before a bucket with versioning is deleted, all object versions and delete markers must be deleted."""
    bucket = workspace.bucket()
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    s3.delete_object(Bucket=bucket, Key="k")
    assert error_code(lambda: s3.delete_bucket(Bucket=bucket))[0] == "BucketNotEmpty"


@documented(f"{GUIDE}/bucketnamingrules.html")
@pytest.mark.parametrize(
    "name", ["ab", "x" * 64, "Upper", "under_score", "-first", "last-", "a..b", "192.168.5.4", "xn--a", "a-s3alias"]
)
def test_bucket_names_follow_their_rules(s3: Any, name: str) -> None:
    """A name has 3 to 63 lowercase letters, digits, dots and hyphens, is no IP address and has no reserved affix."""
    with pytest.raises(ClientError) as error:
        s3.create_bucket(Bucket=name)
        s3.delete_bucket(Bucket=name)
    assert error.value.response.get("Error", {}).get("Code") == "InvalidBucketName"


@documented(f"{GUIDE}/default-bucket-encryption.html")
def test_objects_are_encrypted_by_default(s3: Any, bucket: str) -> None:
    """All new objects are encrypted with SSE-S3 unless the request or the bucket says otherwise."""
    s3.put_object(Bucket=bucket, Key="encrypted", Body=b"")
    assert s3.head_object(Bucket=bucket, Key="encrypted").get("ServerSideEncryption") == "AES256"


@documented(f"{API}/API_GetBucketEncryption.html")
def test_buckets_have_an_encryption_configuration(s3: Any, bucket: str) -> None:
    """By default, all buckets have a default encryption configuration that uses SSE-S3."""
    [rule] = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


@documented(f"{GUIDE}/access-control-block-public-access.html")
def test_new_buckets_block_public_access(s3: Any, bucket: str) -> None:
    """By default, new buckets, access points, and objects don't allow public access."""
    settings = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert len(settings) == 4
    assert all(settings.values())


def public_statement(bucket: str, **more: Any) -> dict[str, Any]:
    actions = {"Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    return {"Effect": "Allow", "Principal": "*", **actions, **more}


@documented(f"{API}/API_PublicAccessBlockConfiguration.html")
def test_public_bucket_policies_are_blocked(s3: Any, bucket: str) -> None:
    """With BlockPublicPolicy, S3 rejects calls to PutBucketPolicy if the bucket policy allows public access."""
    document = policy([public_statement(bucket)])
    assert error_code(lambda: s3.put_bucket_policy(Bucket=bucket, Policy=document))[0] == "AccessDenied"


@documented(f"{GUIDE}/access-control-block-public-access.html")
@pytest.mark.parametrize(
    ("more", "public"),
    [
        ({"Principal": {"Federated": "graph.facebook.com"}}, True),
        ({"Condition": {"StringLike": {"aws:SourceVpc": "vpc-*"}}}, True),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/1"}}}, True),
        ({"Condition": {"StringEquals": {"aws:SourceVpc": "vpc-91237329"}}}, False),
        ({"Principal": {"Service": "cloudtrail.amazonaws.com"}}, False),
    ],
)
def test_a_policy_is_public_without_fixed_values(s3: Any, bucket: str, more: dict[str, Any], public: bool) -> None:
    """A non-public bucket policy grants access only to fixed values, such as principals, VPCs or narrow IP ranges."""
    put = {"Bucket": bucket, "Policy": policy([public_statement(bucket, **more)])}
    assert (status(s3.put_bucket_policy, **put) == 403) is public
    s3.delete_bucket_policy(Bucket=bucket)


@documented(f"{GUIDE}/access-control-block-public-access.html")
def test_restricted_buckets_are_closed_to_the_public(workspace: Workspace, s3: Any) -> None:
    """RestrictPublicBuckets blocks public access derived from an existing public bucket policy."""
    bucket = workspace.bucket()
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    s3.delete_public_access_block(Bucket=bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=policy([public_statement(bucket)]))
    url = f"{s3.meta.endpoint_url}/{bucket}/k"
    assert fetch(workspace, url) == (200, "content")
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
    assert fetch(workspace, url)[0] == 403
    assert status(s3.get_object, Bucket=bucket, Key="k") == 200


@documented(f"{API}/API_PublicAccessBlockConfiguration.html")
def test_public_acls_are_blocked(workspace: Workspace, s3: Any) -> None:
    """With BlockPublicAcls, PUT Object calls fail if the request includes a public ACL."""
    bucket = workspace.bucket(ObjectOwnership="BucketOwnerPreferred")
    assert error_code(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="public-read"))[0] == "AccessDenied"


@documented(f"{GUIDE}/about-object-ownership.html")
def test_new_buckets_have_no_acls(s3: Any, bucket: str) -> None:
    """With ACLs disabled, the default, PUT requests with other ACLs fail with AccessControlListNotSupported."""
    put = {"Bucket": bucket, "Key": "acl", "Body": b"", "ACL": "aws-exec-read"}
    assert error_code(lambda: s3.put_object(**put))[0] == "AccessControlListNotSupported"


@documented(f"{API}/API_LifecycleExpiration.html")
def test_an_object_expires_after_a_day_or_more(s3: Any, bucket: str) -> None:
    """The Days of a lifecycle rule's expiration must be a non-zero positive integer."""
    rule = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": "in/"}}
    put = s3.put_bucket_lifecycle_configuration
    for days, wanted in ((1, 200), (0, 400)):
        rules = {"Rules": [{**rule, "Expiration": {"Days": days}}]}
        assert status(put, Bucket=bucket, LifecycleConfiguration=rules) == wanted


@documented(f"{GUIDE}/intro-lifecycle-rules.html")
def test_uploads_by_tag_cannot_be_aborted(s3: Any, bucket: str) -> None:
    """You can't specify AbortIncompleteMultipartUpload in a rule that has a filter based on object tags."""
    rule = {
        "ID": "x",
        "Status": "Enabled",
        "Filter": {"Tag": {"Key": "a", "Value": "b"}},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
    }
    put = s3.put_bucket_lifecycle_configuration
    assert status(put, Bucket=bucket, LifecycleConfiguration={"Rules": [rule]}) == 400


@documented(f"{API}/API_LifecycleRule.html")
def test_a_lifecycle_rules_id_has_at_most_255_characters(s3: Any, bucket: str) -> None:
    """A lifecycle rule's ID cannot be longer than 255 characters."""
    put = s3.put_bucket_lifecycle_configuration
    for length, wanted in ((255, 200), (256, 400)):
        rule = {"ID": "x" * length, "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
        assert status(put, Bucket=bucket, LifecycleConfiguration={"Rules": [rule]}) == wanted
