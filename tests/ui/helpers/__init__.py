"""A page whose AWS is a fake in real time, and the browser that looks at it."""
