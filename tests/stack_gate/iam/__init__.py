"""What policies allow."""
