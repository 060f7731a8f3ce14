# shellcheck shell=bash
# Debian packages and the Rust toolchain that the scripts need. Sourced after ui.sh.

# To build: the C library of the data plane, and what bindgen needs to read its headers.
# shellcheck disable=SC2034
PACKAGES_BUILD=(build-essential ca-certificates pkg-config libdpdk-dev dpdk libclang-dev)
# To measure with I/O: testpmd, and what makes links.
# shellcheck disable=SC2034
PACKAGES_IO=(dpdk-dev iproute2 ethtool util-linux)
# To fuzz: libFuzzer, as a library without a compiler.
# shellcheck disable=SC2034
PACKAGES_FUZZ=(libclang-rt-dev)
# To make hosts and to see what happens on them.
# shellcheck disable=SC2034
PACKAGES_LAB=(iproute2 ethtool iperf3 unbound nginx-light curl traceroute iputils-ping bind9-dnsutils jq procps)
# What tests of programs ask, and put in the gateway's way.
# shellcheck disable=SC2034
PACKAGES_PEERS=(coturn tayga)

package_installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# install_packages LOG NAME...: installs the missing ones. Services that come with them (nginx, unbound, coturn, tayga) are
# neither started nor left enabled: the demo runs its own copies inside its namespaces.
install_packages() {
    local log=$1 name missing=() policy=/usr/sbin/policy-rc.d own_policy=0
    shift
    for name in "$@"; do
        package_installed "$name" || missing+=("$name")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "missing packages (${missing[*]}) and no apt-get here to install them"
    [[ $EUID == 0 ]] || die "missing packages: ${missing[*]}. Run as root, or: apt-get install ${missing[*]}"
    note "installing: ${missing[*]}"
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        own_policy=1
    fi
    local rc=0
    progress "apt-get install" "$log" env DEBIAN_FRONTEND=noninteractive bash -c \
        'apt-get update -q && apt-get install -q -y --no-install-recommends "$@"' _ "${missing[@]}" || rc=$?
    ((own_policy)) && rm -f "$policy"
    if ((rc)); then
        tail -n 20 "$log" | indent
        die "apt-get could not install: ${missing[*]} (log: $log)"
    fi
    for name in "${missing[@]}"; do
        case $name in
        nginx-light) systemctl disable nginx.service >/dev/null 2>&1 || true ;;
        unbound) systemctl disable unbound.service >/dev/null 2>&1 || true ;;
        coturn) systemctl disable coturn.service >/dev/null 2>&1 || true ;;
        tayga) systemctl disable tayga.service >/dev/null 2>&1 || true ;;
        esac
    done
}

# Finds cargo, also when root got here by sudo and Rust lives in the caller's home.
find_cargo() {
    local home
    command -v cargo >/dev/null && return 0
    for home in "${HOME:-/root}" "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)" /usr/local; do
        if [[ -x $home/.cargo/bin/cargo ]]; then
            export PATH="$home/.cargo/bin:$PATH" CARGO_HOME="${CARGO_HOME:-$home/.cargo}"
            [[ -d $home/.rustup ]] && export RUSTUP_HOME="${RUSTUP_HOME:-$home/.rustup}"
            return 0
        fi
    done
    die "no cargo found. Install Rust 1.95 or later (https://rustup.rs) and run this again"
}
