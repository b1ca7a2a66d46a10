"""TensorRT: being built."""


class TrtRuntime:
    """Being built."""
