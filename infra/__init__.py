"""The CDK app's stack (`stack.py`), composed of `constructs/` and configured by `config/`.

Imported by app.py and by tests; the other parts of the project never import it.
"""
