"""The reports and the comment."""
