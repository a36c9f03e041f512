"""An AWS on one machine: moto's storage and APIs, extended until the CDK CLI deploys the real stack to it.

For the walkthrough, the planner and the tests; nothing that ships to AWS imports it.
"""
