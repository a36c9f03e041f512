"""The SDK's version 3 as a user calls it; run by its own environment's Python. Prints one JSON object."""

import importlib.metadata
import json
import sys
import time

import boto3
from botocore.exceptions import ClientError
from sagemaker.core.resources import Endpoint, EndpointConfig, Model

ENDPOINT, BUCKET = sys.argv[1:3]
shown = {"version": importlib.metadata.version("sagemaker")}
s3 = boto3.client("s3")


def result(location):
    """Return the object at an s3:// URL, once it exists."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    for _ in range(60):
        try:
            return s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
        except s3.exceptions.NoSuchKey:
            time.sleep(1)
    raise TimeoutError(location)


endpoint = Endpoint.get(endpoint_name=ENDPOINT)
shown["status"] = endpoint.endpoint_status
shown["output"] = endpoint.async_inference_config.output_config.s3_output_path
shown["image"] = endpoint.production_variants[0].deployed_images[0].specified_image
shown["data_capture"] = str(endpoint.data_capture_config)
endpoint.refresh()
endpoint.wait_for_status(target_status="InService", timeout=60)
shown["all"] = [item.endpoint_name for item in Endpoint.get_all()]
shown["by_name"] = [item.endpoint_name for item in Endpoint.get_all(name_contains="nothing-like-this")]

s3.put_object(Bucket=BUCKET, Key="in/v3.json", Body=b'{"texts": ["three"]}')
answer = endpoint.invoke_async(input_location=f"s3://{BUCKET}/in/v3.json", content_type="application/json")
shown["echo"] = json.loads(result(answer.output_location))
shown["locations"] = [answer.output_location.rpartition("/")[0], answer.failure_location.rpartition("/")[0]]

config = EndpointConfig.get(endpoint_config_name=endpoint.endpoint_config_name)
shown["config"] = [config.production_variants[0].model_name, config.production_variants[0].initial_instance_count]
model = Model.get(model_name=config.production_variants[0].model_name)
shown["model"] = [model.primary_container.image, model.execution_role_arn]
shown["configs"] = [item.endpoint_config_name for item in EndpointConfig.get_all()]
shown["models"] = [item.model_name for item in Model.get_all()]

name = f"{ENDPOINT}-v3"
made = Endpoint.create(endpoint_name=name, endpoint_config_name=config.endpoint_config_name)
shown["pending"] = made.pending_deployment_summary.endpoint_config_name
made.wait_for_status(target_status="InService", poll=1, timeout=300)
made.delete()
made.wait_for_delete(poll=1, timeout=120)
try:
    Endpoint.get(endpoint_name=name)
except ClientError as error:
    shown["gone"] = error.response["Error"]
print(json.dumps(shown))
