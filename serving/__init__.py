"""Answer requests over HTTP, with nothing between a request and a proven artefact but checks and threads.

Knows `runtime` and `bundle`. Knows nothing of torch, training or export.
"""
