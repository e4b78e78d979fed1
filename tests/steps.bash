# Named steps with progress and a log each, for the shell scripts of this repository. Sourcing it runs nothing.
#
# Sets: top (the repository), cache (downloads and built things worth keeping), logs (one file per step).
# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${BERTH_CACHE:-$top/.cache}
logs=$top/build/logs

say() { printf '==> %s\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# need COMMAND...: fails with the names of those that are missing.
need() {
    local c missing=()
    for c; do command -v "$c" >/dev/null || missing+=("$c"); done
    [[ ${#missing[@]} -eq 0 ]] || die "missing commands: ${missing[*]} (./dev setup installs what berth needs)"
}

# now_ms: a monotonic clock in milliseconds.
now_ms() { local up; read -r up _ </proc/uptime; echo $((10#${up/./} * 10)); }

# seconds MILLISECONDS: "12.3 s"
seconds() { printf '%d.%d s' $(($1 / 1000)) $(($1 % 1000 / 100)); }

# free_port: a TCP port that nothing on loopback listens on.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# watch_log LABEL LOG STARTED: shows how far a step is, until it is killed or its script is gone. A terminal sees one
# line that changes every second, anything else a new line every 20 seconds.
watch_log() {
    local label=$1 log=$2 started=$3 owner=$$ pause=20 silence last line
    [[ -t 2 ]] && pause=1
    exec {silence}<> <(:)  # waiting on it needs no sleep process, which would outlive a kill and hold our output open
    while ! read -rt "$pause" -u "$silence"; do
        kill -0 "$owner" 2>/dev/null || return 0
        last=$(tail -c 400 "$log" 2>/dev/null | tr -c '[:print:]\n' ' ' | tail -n 1)
        line="    $label: $(seconds $(($(now_ms) - started)))  ${last:0:70}"
        if [[ -t 2 ]]; then printf '\r\033[K%s' "$line" >&2; else printf '%s\n' "$line" >&2; fi
    done
}

# show_failure LOG: the part of a step's log that tells why it failed.
show_failure() {
    if grep -q '^FAILED:' "$1"; then sed -n '/^FAILED:/,$p' "$1" | head -n 120; else tail -n 40 "$1"; fi >&2
}

# step NAME LABEL COMMAND...: runs a program (not a shell function: -e would not hold inside) with its output in
# logs/NAME.log, and says how long it took. Its status is the program's; a failure shows the log's telling part.
step() {
    local name=$1 label=$2 log=$logs/$1.log started watcher status=0
    shift 2
    mkdir -p "$logs"
    : >"$log"
    started=$(now_ms)
    watch_log "$label" "$log" "$started" &
    watcher=$!
    "$@" >"$log" 2>&1 || status=$?
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    [[ -t 2 ]] && printf '\r\033[K' >&2
    if [[ $status -eq 0 ]]; then
        note "$label: done in $(seconds $(($(now_ms) - started)))"
    else
        show_failure "$log"
        note "$label: failed with status $status after $(seconds $(($(now_ms) - started))); the whole log: $log"
    fi
    return "$status"
}
