"""Locust drives every endpoint of a running service, checks each answer against golden samples, and judges what it saw.

`locustfile.py` is what Locust loads, and the only module that touches gevent's patches; `__main__.py` is `make loadtest`.
Everything between the two is plain: cases are bytes with a check, a ledger counts, shapes are rates over time,
thresholds are numbers in a file. Knows HTTP, gRPC and bundles. Knows nothing of engines.
"""
