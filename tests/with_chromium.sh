#!/usr/bin/env bash
# Runs a command where there is a Chromium: Debian's package, where none is installed. Only that needs root.
#   tests/with_chromium.sh COMMAND...
set -euo pipefail

if ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null; then
    [ "$(id -u)" = 0 ] && sudo="" || sudo=sudo
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi
exec "$@"
