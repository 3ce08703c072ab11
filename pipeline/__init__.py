"""Every step of the workflow, one module each: `python -m pipeline.<step> --help`."""
