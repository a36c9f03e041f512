"""IAM at the embedded AWS: authenticate each request and evaluate the deployed policies.

`moto_patches` puts `authorization.authorize` in place of moto's check; services that act under a role call
`sessions.assume_role_for_service`.
"""
