"""Turn a checkpoint into a bundle, with proof: ONNX, quantisation, parity, evaluation, packaging.

Knows `training` (architectures, tasks, data; not recipes or the loop), `runtime` and `bundle`.
Knows nothing of serving.
"""
