"""The stack's configuration: every setting, what it may be, and the tables of models, instance types and images.

`from_context` turns CDK context into a `Config`. Imported by app.py, the stack and its constructs; does not import CDK.
"""

from infra.config.context import from_context
from infra.config.setting_rules import ConfigError
from infra.config.settings import Config

__all__ = ["Config", "ConfigError", "from_context"]
