"""The one account of the embedded AWS, and the credentials that bypass its permission checks."""

ACCOUNT_ID = "123456789012"
REGION = "us-east-1"
# Like an account's administrator: the CDK CLI, the walkthrough and the embedded services themselves call with this key.
# Not shaped like a real key, so that no secret scanner takes it for one.
ROOT_ACCESS_KEY_ID = "local-administrator"
ROOT_SECRET_ACCESS_KEY = "local-administrator"
