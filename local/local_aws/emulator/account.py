"""The account of the embedded AWS, and its administrator's credentials, which bypass permission checks."""

ACCOUNT_ID = "123456789012"
REGION = "us-east-1"
# The CDK CLI, the walkthrough and the embedded services themselves use this key. It is not shaped like a real one, so
# that no secret scanner reports it.
ROOT_ACCESS_KEY_ID = "local-administrator"
ROOT_SECRET_ACCESS_KEY = "local-administrator"
ISSUERS = "issuers.json"  # in the state folder: the keys of OpenID Connect issuers
