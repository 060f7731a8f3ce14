# shellcheck shell=bash
# Sluice in the lab's gateway host. Sourced after lab.sh; needs BIN (folder of the programs) and WORKERS.

# Cores for the workers, shared when there are fewer cores than workers.
worker_cores() {
    local i
    for ((i = 0; i < WORKERS; i++)); do echo $((i % $(nproc))); done | paste -sd,
}

# gateway_config KIND: the configuration for ports of a kind, packet or xdp.
gateway_config() {
    cat >"$LAB_DIR/sluice.yaml" <<END
interfaces:
  inside:
    device: $1:lan0
    addresses: [10.0.0.1/24, 2001:db8:501::1/64]
  outside:
    device: $1:wan0
    addresses: [192.0.2.2/30]

workers: { cores: [$(worker_cores)] }

pools:
  public: { prefixes: [198.51.100.0/30] }

nat64:
  - { prefix: $LAB_PREFIX64, sources: [2001:db8:501::/64], pool: public }
nat44:
  - { sources: [10.0.0.0/24], pool: public }

routes:
  - { to: 0.0.0.0/0, via: 192.0.2.1 }
END
}

# sluice ARGUMENTS...: the command, against the lab's gateway.
sluice() { on gw "$BIN/sluice" --run-dir "$LAB_DIR/run" "$@"; }

# Forwarding for real: the first packets also resolve the neighbours.
forwards4() { on client4 ping -c 1 -W 1 "$LAB_SERVER"; }
forwards6() { on client6 ping -c 1 -W 1 "$LAB_SERVER6"; }

# Whether control says that the dataplane does not take the configuration.
refused() { sluice status --json 2>/dev/null | jq -e '.control.trouble != null' >/dev/null; }

# gateway_start KIND: starts both processes and waits until both families pass; fails, with the reason on
# standard output, if they do not.
gateway_start() {
    gateway_config "$1"
    sluice check "$LAB_DIR/sluice.yaml" >"$LAB_DIR/check.log" 2>&1 || {
        cat "$LAB_DIR/check.log"
        return 1
    }
    mkdir -p "$LAB_DIR/run"
    spawn dataplane gw "$BIN/sluice-dataplane" --run-dir "$LAB_DIR/run"
    spawn control gw "$BIN/sluice-control" --run-dir "$LAB_DIR/run" --config "$LAB_DIR/sluice.yaml"
    local deadline=$((SECONDS + 15))
    # A process that has ended passes nothing any more: no need to wait for it.
    # Nor for a configuration that was refused.
    while running dataplane && running control && ! refused && ((SECONDS < deadline)); do
        if forwards4 >/dev/null 2>&1 && forwards6 >/dev/null 2>&1; then return 0; fi
    done
    tail -n 5 "$LAB_DIR/dataplane.log" "$LAB_DIR/control.log"
    return 1
}

gateway_stop() {
    local name pid
    for name in control dataplane; do
        pid=$(pid_of "$name")
        [[ -n $pid ]] && kill -TERM "$pid" 2>/dev/null
        wait_until 5 not running "$name" || kill -KILL "$pid" 2>/dev/null
    done
    rm -rf "$LAB_DIR/run"
}

not() { ! "$@"; }

# Packets in flight are counted on one side only for a moment; at rest every packet is accounted for, on every
# thread: the workers', the main and the punt thread. Prints those that are not.
accounts_balance() {
    local threads thread counters open=''
    threads=$(sluice status --json | jq -e ".dataplane.workers + 2") || return 1
    for ((thread = 0; thread < threads; thread++)); do
        counters=$(sluice counters --worker "$thread" --json) || return 1
        open+=$(jq -r 'select(.accounting.balanced | not)
            | "\(.thread): \(.accounting.arrived) packets arrived or were made, \(.accounting.ended) ended\n"' <<<"$counters")
    done
    [[ -z $open ]] || printf '%s\n' "$open"
    [[ -z $open ]]
}
