"""Run one bundle in this process: engines behind one small interface, and prepare -> run -> decode.

Knows `bundle`. Knows nothing of torch, HTTP or queues.
"""
