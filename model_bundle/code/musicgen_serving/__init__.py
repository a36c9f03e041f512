"""MusicGen behind SageMaker: what a request may say, how it is answered, and the server on the container's port."""
