#!/usr/bin/env bash
# Sets up napari-histoseg beside this file and runs it:
#
#   bash start.sh ARGS…   napari-histoseg ARGS… (demo, predict, project, …; --help lists them)
#   bash start.sh test    every check and every test (with arguments: pytest with these)
#
# The environment is .venv in this folder. System libraries are installed only where apt-get exists and only
# those that are missing. PYTHON=/path/to/python3 chooses another interpreter (3.11 or newer).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
repository=$PWD
caller_folder=$OLDPWD

say() { printf 'start.sh: %s\n' "$*" >&2; }

missing_packages() {
    # Qt needs the X and OpenGL client libraries; Xvfb stands in for a screen where there is none.
    local wanted=(libgl1 libegl1 libgl1-mesa-dri libglib2.0-0 libdbus-1-3 libfontconfig1 libxkbcommon-x11-0
        libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0
        libxcb-xinerama0 libxcb-xkb1 libxi6 fonts-dejavu-core)
    if [ -z "${PYTHON:-}" ] && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        wanted+=(python3 python3-venv)
    fi
    if [ -z "${DISPLAY:-}" ] || [ "${1:-}" = test ]; then wanted+=(xvfb xauth); fi
    local package
    for package in "${wanted[@]}"; do
        # Newer releases add t64 to a library's name; dpkg-query fails when either name is unknown.
        if ! { dpkg-query -W -f '${Status}\n' "$package" "${package}t64" 2>/dev/null || true; } |
            grep -q 'install ok installed'; then
            echo "$package"
        fi
    done
}

install_system_libraries() {
    command -v apt-get >/dev/null || return 0
    local missing
    missing=$(missing_packages "${1:-}" | tr '\n' ' ')
    [ -n "${missing// /}" ] || return 0
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            say "these system packages are missing; ask an administrator to install them: $missing"
            return 0
        fi
        as_root=(sudo)
    fi
    say "installing system packages: $missing"
    "${as_root[@]}" apt-get update -qq
    # shellcheck disable=SC2086  # the list is words on purpose
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

set_up_environment() {
    local extras=$1 python=${PYTHON:-python3} stamp
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        say "Python 3.11 or newer is needed; install it, or name one: PYTHON=/path/to/python3 bash start.sh"
        exit 1
    fi
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    stamp=".venv/installed-$extras-$(cksum <pyproject.toml | tr ' ' '-')"
    if [ ! -e "$stamp" ]; then
        say "installing Python packages into .venv (several GB with PyTorch; a few minutes the first time)"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
        touch "$stamp"
    fi
}

run_tests() {
    local bin=$repository/.venv/bin
    export PATH=$bin:$PATH QT_LOGGING_RULES='*.debug=false' LIBGL_ALWAYS_SOFTWARE=1
    local screen=(xvfb-run --auto-servernum --server-args='-screen 0 1366x768x24')
    if ! command -v xvfb-run >/dev/null; then screen=(); fi
    if [ $# -gt 0 ]; then
        "${screen[@]}" pytest "$@"
        return
    fi
    say 'ruff'
    ruff check .
    ruff format --check .
    say 'mypy'
    mypy
    say 'import contracts'
    lint-imports
    say 'plugin manifest'
    npe2 validate napari_histoseg/napari.yaml
    say 'pytest with PyQt5'
    QT_API=pyqt5 PYTEST_QT_API=pyqt5 "${screen[@]}" pytest
    say 'window tests with PyQt6'
    QT_API=pyqt6 PYTEST_QT_API=pyqt6 "${screen[@]}" pytest -m both_bindings
}

install_system_libraries "${1:-}"
if [ "${1:-}" = test ]; then
    shift
    set_up_environment pyqt5,pyqt6,test
    run_tests "$@"
else
    set_up_environment pyqt5
    cd "$caller_folder"
    exec "$repository/.venv/bin/napari-histoseg" "$@"
fi
