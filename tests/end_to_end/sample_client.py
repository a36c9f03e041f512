"""The client of the published AWS sample's notebook: upload a payload, invoke the endpoint, poll for the response.

Request fields, call parameters and polling are the sample's; the names are the stack's.
Print the response as one line of JSON.
"""

# pyright: reportUnknownMemberType=false, reportTypedDictNotRequiredAccess=false
# boto3's stubs cover only some services, and an error always has a code.

import json
import time
from urllib.parse import urlparse

import boto3
from botocore.exceptions import ClientError

stack = boto3.client("cloudformation").describe_stacks(StackName="MusicGen-dev")["Stacks"][0]
outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
s3 = boto3.client("s3")

payload = {
    "texts": ["Flute with hip hop beats on a sunny day and happy vibes"],
    "bucket_name": outputs["OutputBucketName"],
    "generation_params": {"guidance_scale": 3, "max_new_tokens": 53, "do_sample": True, "temperature": 0.9},
}
key = "in/payload.json"
s3.put_object(
    Bucket=outputs["InputBucketName"], Key=key, Body=json.dumps(payload).encode(), ContentType="application/json"
)
answer = boto3.client("sagemaker-runtime").invoke_endpoint_async(
    EndpointName=outputs["EndpointName"],
    InputLocation=f"s3://{outputs['InputBucketName']}/{key}",
    ContentType="application/json",
    InvocationTimeoutSeconds=3600,
)
place = urlparse(answer["OutputLocation"])
deadline = time.monotonic() + 120
while True:
    try:
        print(s3.get_object(Bucket=place.netloc, Key=place.path[1:])["Body"].read().decode())
        break
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey" or time.monotonic() > deadline:
            raise
        time.sleep(0.5)
