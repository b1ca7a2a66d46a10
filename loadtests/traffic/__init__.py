"""Locust drives every endpoint of a service, checks each answer against golden samples, and judges what it saw.

`locustfile.py` is what Locust loads; `__main__.py` is `make loadtest`. What lies between the two is plain: cases are
bytes with a check, a ledger counts, profiles are rates over time, thresholds are numbers in a file. Knows HTTP, gRPC
and bundles. Knows nothing of engines.
"""
