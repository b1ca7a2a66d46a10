"""The contract: what a bundle is, how raw input becomes tensors, and what output tensors mean.

Knows numpy, pydantic, msgspec and OpenCV. Knows nothing of torch, inference engines or HTTP.
"""
