# shellcheck shell=bash
# How the scripts talk to a person: headings, steps with a tick or a cross, indented output, progress.
# Sourced, not run. Colours appear only on a terminal and never when NO_COLOR is set.

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    UI_BOLD=$'\e[1m' UI_DIM=$'\e[2m' UI_GREEN=$'\e[32m' UI_RED=$'\e[31m' UI_YELLOW=$'\e[33m' UI_OFF=$'\e[0m'
    UI_TTY=1
else
    UI_BOLD='' UI_DIM='' UI_GREEN='' UI_RED='' UI_YELLOW='' UI_OFF=''
    UI_TTY=0
fi

UI_PASSED=0
UI_FAILED=0
UI_FAILURES=()

# A section heading.
heading() { printf '\n%s== %s ==%s\n' "$UI_BOLD" "$*" "$UI_OFF"; }

# A line of information.
note() { printf '   %s\n' "$*"; }

# Something that is not wrong but that a person should see.
warn() { printf '   %s! %s%s\n' "$UI_YELLOW" "$*" "$UI_OFF"; }

# The end of a step that worked.
pass() {
    UI_PASSED=$((UI_PASSED + 1))
    printf ' %s✓%s %s\n' "$UI_GREEN" "$UI_OFF" "$*"
}

# The end of a step that did not; it is named again in the summary.
fail() {
    UI_FAILED=$((UI_FAILED + 1))
    UI_FAILURES+=("$*")
    printf ' %s✗ %s%s\n' "$UI_RED" "$*" "$UI_OFF"
}

# Ends the script at once, with a reason on stderr.
die() {
    printf '%s%s: %s%s\n' "$UI_RED" "${0##*/}" "$*" "$UI_OFF" >&2
    exit 1
}

# Standard input, indented and dimmed.
indent() {
    local line
    while IFS= read -r line || [[ -n $line ]]; do
        printf '   %s%s%s\n' "$UI_DIM" "$line" "$UI_OFF"
    done
}

# Seconds since START (a value of EPOCHREALTIME), with one decimal.
elapsed_since() {
    local now=$EPOCHREALTIME start=$1
    local us=$((${now/[.,]/} - ${start/[.,]/}))
    printf '%d.%d s' $((us / 1000000)) $((us % 1000000 / 100000))
}

# progress TITLE LOG COMMAND...: runs a long command with its output in LOG. A terminal sees a line with the
# time passed and the last line of output, anything else a line every 30 seconds, so that nobody thinks it hangs.
progress() {
    local title=$1 log=$2 start=$EPOCHREALTIME pid rc=0 beat=0 last columns=100
    shift 2
    [[ $UI_TTY == 1 ]] && columns=$(tput cols 2>/dev/null || echo 100)
    "$@" >"$log" 2>&1 &
    pid=$!
    UI_CHILD=$pid
    while kill -0 "$pid" 2>/dev/null; do
        if [[ $UI_TTY == 1 ]]; then
            last=$(tail -n 1 "$log" 2>/dev/null | tr -d '\r\033' || true)
            printf '\r\e[K   %s' "$(printf '%s %s  %s' "$title" "$(elapsed_since "$start")" "$last" | cut -c "1-$((columns - 5))")"
        elif ((beat % 150 == 149)); then
            note "$title: still at it after $(elapsed_since "$start")"
        fi
        beat=$((beat + 1))
        sleep 0.2
    done
    wait "$pid" || rc=$?
    # Read by the caller's cleanup, which ends a child that is still running when the script is interrupted.
    # shellcheck disable=SC2034
    UI_CHILD=''
    [[ $UI_TTY == 1 ]] && printf '\r\e[K'
    return "$rc"
}

# wait_until SECONDS COMMAND...: polls until COMMAND succeeds; fails when the time is over.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}
