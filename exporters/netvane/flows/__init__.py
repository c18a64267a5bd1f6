"""The packet-flow exporter and its engine."""

import os

# NumPy's linear algebra, which nothing here uses, would start a thread for each core as it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
