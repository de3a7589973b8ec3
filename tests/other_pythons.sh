#!/bin/sh
# Runs the tests of the call path on the other Pythons that are installed, each in a virtual environment of its own.
# What only talks to files, stores and servers does not depend on the Python and is tested on the first one.
# `other_pythons.sh prepare` only makes the environments; what it could not make, the run itself tries again, and says why.
set -eu
here=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
for version in 3.11 3.12 3.13; do
  [ "$version" = "$here" ] && continue
  python=""
  for candidate in "python$version" "$HOME"/.pyenv/versions/"$version".*/bin/python; do
    if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then python=$candidate; break; fi
  done
  if [ -z "$python" ]; then echo "Python $version is not installed: skipped"; continue; fi
  venv=".venv-$version"
  if [ ! -e "$venv/.test" ] || [ pyproject.toml -nt "$venv/.test" ]; then
    "$python" -m venv "$venv"
    sh deploy/install.sh "$venv/bin/python" -e '.[test]'
    touch "$venv/.test"
  fi
  [ "${1:-}" = prepare ] && continue
  echo "Python $version:"
  "$venv/bin/python" -m pytest -q -n 2 --dist loadfile -p no:cacheprovider -m 'not slow' \
    tests/test_guarded.py tests/test_call_path.py tests/test_endings.py tests/test_batches.py tests/test_content_*.py \
    tests/policies tests/drivers/test_hand_off.py tests/ledger/test_ledger_record.py
done
