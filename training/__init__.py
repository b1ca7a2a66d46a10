"""Make a checkpoint: recipes, architectures, data, tasks (loss and metrics), and the loop (Lightning).

Knows torch and `bundle` (whose preprocessing is the evaluation transform). Knows nothing of export, engines or serving.
"""
