"""HTTP's frame around a question: connections and their limits, bodies in and out, the pages that are no task."""
