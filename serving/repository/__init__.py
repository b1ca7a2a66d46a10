"""Models on their way in and out while requests run: looked for, brought up, swapped, drained."""
