"""Reference model, random decoders and other helpers of the bundle's tests."""
