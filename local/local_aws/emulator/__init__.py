"""The embedded AWS itself: moto behind TLS, extended until the CDK CLI deploys the stack to it."""
