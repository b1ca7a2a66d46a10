"""From a request in the queue to rows on a device: when, how many at once, on which, with how many threads."""
