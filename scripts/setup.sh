#!/usr/bin/env bash
# Makes .venv with Python 3.12 and the locked packages. A second call does nothing until the lock or setup.py changes.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/own_environment.sh

stamp=.venv/.installed
digest=$(cat requirements.lock setup.py .python-version | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$digest" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

# .venv is replaced below: if it is activated, its own interpreter must not be chosen.
PATH=$(printf %s "$PATH" | tr ':' '\n' | grep -vxF "$PWD/.venv/bin" | paste -sd:)
unset VIRTUAL_ENV

works() { "$@" -c 'import sys; raise SystemExit(sys.version_info[:2] != (3, 12))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in python3.12 python3 python; do
        if works "$candidate"; then command -v "$candidate"; return; fi
    done
    if command -v pyenv >/dev/null 2>&1; then
        for candidate in "$(pyenv root)"/versions/3.12*/bin/python; do
            if works "$candidate"; then echo "$candidate"; return; fi
        done
    fi
    if uv --version >/dev/null 2>&1; then  # a shim may be there that does not work under .python-version
        uv python find --system 3.12 2>/dev/null && return
        uv python install -q 3.12 && uv python find --system 3.12 && return
    fi
    return 1
}

python=$(find_python) || {
    echo "setup: no Python 3.12 found (looked for python3.12, pyenv, uv). Install one, for example: uv python install 3.12" >&2
    exit 1
}
echo "setup: $("$python" --version) at $python" >&2
# Debian's own Python comes without ensurepip unless python3-venv is installed.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null && ! uv --version >/dev/null 2>&1; then
    echo "setup: $python has no venv module, and there is no uv. Install one of them, for example: apt install python3.12-venv" >&2
    exit 1
fi
own_environment .venv
if ! "$python" -m venv .venv 2>/dev/null; then
    own_environment .venv
    uv venv -q --seed --allow-existing --python "$python" .venv
fi
# uv installs from the lock in a fraction of pip's time; .venv gets its own, so that none is needed outside.
.venv/bin/python -m pip install -q --disable-pip-version-check --root-user-action=ignore uv==0.13.9 2>/dev/null ||
    .venv/bin/python -m pip install -q --disable-pip-version-check uv
.venv/bin/uv pip install -q --python .venv/bin/python -r requirements.lock
.venv/bin/uv pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e .
echo "$digest" >"$stamp"
echo "setup: done" >&2
