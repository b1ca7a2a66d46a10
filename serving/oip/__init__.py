"""The Open Inference Protocol (v2), as its clients use it: health so far.

Knows the protocol. Knows nothing of /v1.
"""
