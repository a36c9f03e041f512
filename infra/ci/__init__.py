"""The roles of CI as a CDK app of its own: `cdk --app "python3 -m infra.ci" deploy -c ci:repository=owner/name`.

Deployed by hand, once per account, before CI can deploy anything (docs/ci.md). The main app does not import it.
"""
