"""Score whole data sets: the same prepare -> run -> decode as the service, from tables and folders to tables.

Knows `runtime` and `bundle`. Knows nothing of HTTP or torch.
"""
