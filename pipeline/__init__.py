"""Every step of the workflow, one module each: `python -m pipeline.<step> --help`."""

import os

# torch's threads wait for each other by spinning, by default for so long that a training beside other work crawls: two
# at once take two thirds as long like this, one alone as long as ever. It is read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
