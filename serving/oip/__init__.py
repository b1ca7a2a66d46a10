"""The Open Inference Protocol (v2), as its clients use it: tensors in and out, over the same queues as /v1.

Knows the protocol, and models as `serving` has them. Knows nothing of /v1.
"""
