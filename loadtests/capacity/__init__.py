"""How many pods? Measured of one pod, calculated for N requests a second, and checked by simulation."""
