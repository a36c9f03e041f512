"""An AWS on one machine: moto's storage and APIs, extended until the CDK CLI deploys the real stack to it."""
