#!/usr/bin/env bash
# Snakemake runs this in the new environment; see requirements-no-deps.txt for the reason.
set -euo pipefail
python -m pip install --no-deps face-alignment==1.5.0
