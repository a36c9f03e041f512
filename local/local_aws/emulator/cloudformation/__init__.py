"""The embedded CloudFormation: stacks deployed in dependency order, with events, rollback and replacement.

moto keeps the storage and the wire format. `moto_patches` installs `backend.LocalCloudFormation`; nothing else imports
this package.
"""
