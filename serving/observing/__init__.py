"""What is told of the service: figures, logs, traces, and watches over the answers themselves."""
