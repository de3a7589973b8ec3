#!/bin/sh
# install.sh PYTHON WHAT...: installs into a virtual environment, by uv where that works, else by pip.
# uv installs in seconds what takes pip minutes. It does not read pip's settings: where packages come from a place that only
# those name, or there is no build of uv for this machine, pip does it all and says what is wrong.
set -eu
python=$1
shift
uv="$(dirname "$python")/uv"
[ -x "$uv" ] || "$python" -m pip install -q --disable-pip-version-check uv >/dev/null 2>&1 || true
if [ -x "$uv" ] && "$uv" pip install -q -p "$python" "$@" 2>/dev/null; then exit 0; fi
exec "$python" -m pip install -q --disable-pip-version-check "$@"
