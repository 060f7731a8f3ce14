# shellcheck shell=bash
# The demo's network: five hosts, a switch and a router as network namespaces around one gateway.
#
#   client6 (IPv6 only) ─┐                                          ┌─ server4 (IPv4 only)
#   client4 (IPv4 only) ─┼─ lan (switch) ── gw ── router ───────────┘
#   dns (Unbound, DNS64) ┘      lan0 → inside   wan0 → outside
#
# Every name starts with "sluice" and an id of four hex digits, so that two labs can live side by side. Inside a
# namespace names are plain (eth0, lan0, wan0): they need not be unique there. Sourced after ui.sh.

LAB_ROOT=/run/sluice-demo
LAB_HOSTS=(client6 client4 dns lan gw router server4)
LAB_PREFIX64=2001:db8:64::/96
LAB_SERVER=203.0.113.10
# The server's address under the translation prefix: 203.0.113.10 is cb00:710a.
# shellcheck disable=SC2034
LAB_SERVER6=2001:db8:64::cb00:710a

# The namespace of a host.
ns() { printf 'sluice%s-%s' "$LAB_ID" "$1"; }

# on HOST COMMAND...: runs a command on a host.
on() {
    local host=$1
    shift
    ip netns exec "$(ns "$host")" "$@"
}

# What identifies a process even when its number is used again: its start time.
process_start() { awk '{sub(/^.*\) /, ""); print $20}' "/proc/$1/stat" 2>/dev/null; }

# spawn NAME HOST COMMAND...: starts a long-running process on a host; log in $LAB_DIR/NAME.log, and its
# process number is written down so that it can be stopped by exactly that number.
spawn() {
    local name=$1 host=$2
    shift 2
    # ip netns exec replaces itself by the command: the number is the command's own.
    ip netns exec "$(ns "$host")" "$@" >>"$LAB_DIR/$name.log" 2>&1 </dev/null &
    local pid=$!
    printf '%s %s %s\n' "$pid" "$(process_start "$pid")" "$name" >>"$LAB_DIR/processes"
    disown "$pid"
}

# The process number of a spawned process.
pid_of() { awk -v name="$1" '$3 == name { pid = $1 } END { print pid }' "$LAB_DIR/processes"; }

# Whether a spawned process still runs.
running() {
    local pid
    pid=$(pid_of "$1")
    [[ -n $pid && -d /proc/$pid ]]
}

# Which lab the functions here speak of.
lab_use() {
    LAB_ID=$1
    LAB_DIR=$LAB_ROOT/$1
}

lab_create() {
    local host
    lab_use "$(od -An -N2 -tx2 /dev/urandom | tr -d ' ')"
    mkdir -p "$LAB_DIR"
    chmod 755 "$LAB_ROOT" "$LAB_DIR"
    printf '%s %s\n' $$ "$(process_start $$)" >"$LAB_DIR/owner"
    : >"$LAB_DIR/processes"
    for host in "${LAB_HOSTS[@]}"; do
        ip netns add "$(ns "$host")"
        ip -n "$(ns "$host")" link set lo up
        # Addresses are usable at once: nobody else can have them here.
        on "$host" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
            net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0
        # Inside hosts that share an external address share the server's limit of one unreachable a second.
        on "$host" sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
    done
    for host in client4 router server4; do
        on "$host" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    done

    # The inside link: a switch with a port for every host and one for the gateway.
    ip -n "$(ns lan)" link add br0 type bridge mcast_snooping 0
    ip -n "$(ns lan)" link set br0 up
    for host in client6 client4 dns; do
        cable "$host" eth0 lan "$host"
        ip -n "$(ns lan)" link set "$host" master br0
    done
    cable gw lan0 lan gw
    ip -n "$(ns lan)" link set gw master br0
    cable gw wan0 router eth0
    cable router eth1 server4 eth0

    address client6 eth0 2001:db8:501::10/64
    address client4 eth0 10.0.0.10/24
    address dns eth0 10.0.0.53/24 2001:db8:501::53/64
    address router eth0 192.0.2.1/30
    address router eth1 203.0.113.1/24
    address server4 eth0 $LAB_SERVER/24
    ip -n "$(ns client6)" -6 route add default via 2001:db8:501::1
    ip -n "$(ns client4)" route add default via 10.0.0.1
    ip -n "$(ns server4)" route add default via 203.0.113.1
    on router sysctl -qw net.ipv4.ip_forward=1
    ip -n "$(ns router)" route add 198.51.100.0/30 via 192.0.2.2

    # Names are resolved by the lab's own server, whatever the machine's resolver is.
    resolver client6 2001:db8:501::53
    resolver client4 10.0.0.53
}

# cable HOST INTERFACE HOST INTERFACE: a veth pair without offloads. A software peer that leaves checksums and
# segmentation to "the NIC" would send what no wire carries, and the data plane would rightly pass it on broken.
cable() {
    ip -n "$(ns "$1")" link add "$2" type veth peer name "$4" netns "$(ns "$3")"
    plain "$1" "$2"
    plain "$3" "$4"
}

plain() {
    on "$1" ethtool -K "$2" tx off rx off gso off tso off gro off >/dev/null 2>&1 ||
        on "$1" ethtool -K "$2" tx off gso off tso off gro off >/dev/null
    ip -n "$(ns "$1")" link set "$2" up
}

# address HOST INTERFACE ADDRESS...
address() {
    local host=$1 interface=$2 address flags
    shift 2
    for address in "$@"; do
        flags=()
        [[ $address == *:* ]] && flags=(nodad)
        ip -n "$(ns "$host")" address add "$address" dev "$interface" "${flags[@]}"
    done
}

# resolver HOST ADDRESS: files under /etc/netns/NAME stand in for those of /etc in `ip netns exec NAME`.
resolver() {
    local dir
    dir=/etc/netns/$(ns "$1")
    mkdir -p "$dir"
    printf 'nameserver %s\noptions timeout:1 attempts:3\n' "$2" >"$dir/resolv.conf"
    printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$dir/nsswitch.conf"
}

# lab_remove: stops the lab's processes by their numbers, then removes its namespaces and files. Safe to call
# for a lab that is only half there, and twice.
lab_remove() {
    local pid start name host i
    [[ -n ${LAB_ID:-} && -d $LAB_DIR ]] || return 0
    # Control first, so that it can give the lower devices back while the gateway's namespace exists.
    while read -r pid start name; do
        [[ $(process_start "$pid") == "$start" ]] && kill -TERM "$pid" 2>/dev/null
    done < <(tac "$LAB_DIR/processes" 2>/dev/null)
    for ((i = 0; i < 60; i++)); do
        lab_any_alive || break
        sleep 0.05
    done
    while read -r pid start name; do
        [[ $(process_start "$pid") == "$start" ]] && kill -KILL "$pid" 2>/dev/null
    done <"$LAB_DIR/processes"
    for host in "${LAB_HOSTS[@]}"; do
        # Whatever a process of ours left behind in our own namespaces (nginx's workers, for one).
        for pid in $(ip netns pids "$(ns "$host")" 2>/dev/null); do
            kill -KILL "$pid" 2>/dev/null
        done
        ip netns del "$(ns "$host")" 2>/dev/null
        rm -rf "/etc/netns/$(ns "$host")"
    done
    rmdir /etc/netns 2>/dev/null
    rm -rf "$LAB_DIR"
    rmdir "$LAB_ROOT" 2>/dev/null
    return 0
}

lab_any_alive() {
    local pid start name
    while read -r pid start name; do
        [[ $(process_start "$pid") == "$start" ]] && return 0
    done <"$LAB_DIR/processes"
    return 1
}

# Removes labs whose demo was killed before it could: its process is gone and it was not asked to stay.
lab_sweep() {
    local dir pid start
    for dir in "$LAB_ROOT"/*/; do
        [[ -f $dir/owner && ! -e $dir/keep ]] || continue
        read -r pid start <"$dir/owner"
        [[ $(process_start "$pid") == "$start" ]] && continue
        note "removing what an interrupted demo left behind (${dir%/})"
        lab_use "$(basename "$dir")"
        lab_remove
    done
}

# The DNS server: DNS64 for everything, and the zone demo.test from a file. An auth-zone that is used upstream
# only sends its A records through the DNS64 module, which local-data would bypass.
lab_start_dns() {
    cat >"$LAB_DIR/demo.test.zone" <<END
\$ORIGIN demo.test.
\$TTL 60
@     IN SOA dns.demo.test. hostmaster.demo.test. 1 3600 600 86400 60
@     IN NS  dns.demo.test.
dns   IN A   10.0.0.53
www   IN A   $LAB_SERVER
iperf IN A   $LAB_SERVER
END
    cat >"$LAB_DIR/unbound.conf" <<END
server:
    interface: 10.0.0.53
    interface: 2001:db8:501::53
    access-control: 0.0.0.0/0 allow
    access-control: ::/0 allow
    chroot: ""
    username: ""
    directory: "$LAB_DIR"
    pidfile: ""
    use-syslog: no
    do-daemonize: no
    module-config: "dns64 iterator"
    dns64-prefix: $LAB_PREFIX64
    root-hints: ""
    local-zone: "test." nodefault
remote-control:
    control-enable: no
auth-zone:
    name: "demo.test."
    zonefile: "$LAB_DIR/demo.test.zone"
    for-upstream: yes
    for-downstream: no
    fallback-enabled: no
END
    spawn unbound dns unbound -d -c "$LAB_DIR/unbound.conf"
}

# The web server: a page that says whom it sees, and a file to fetch.
lab_start_web() {
    mkdir -p "$LAB_DIR/www"
    chmod 755 "$LAB_DIR/www"
    head -c 8388608 /dev/urandom >"$LAB_DIR/www/file.bin"
    cat >"$LAB_DIR/nginx.conf" <<END
user root;
worker_processes 1;
daemon off;
pid $LAB_DIR/nginx.pid;
error_log stderr;
events { worker_connections 256; }
http {
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path $LAB_DIR/nginx-body;
    proxy_temp_path $LAB_DIR/nginx-proxy;
    fastcgi_temp_path $LAB_DIR/nginx-fastcgi;
    uwsgi_temp_path $LAB_DIR/nginx-uwsgi;
    scgi_temp_path $LAB_DIR/nginx-scgi;
    server {
        listen $LAB_SERVER:80;
        root $LAB_DIR/www;
        location = / {
            default_type text/plain;
            return 200 "Hello from server4, an IPv4-only host. You came as \$remote_addr port \$remote_port.\n";
        }
    }
}
END
    spawn nginx server4 nginx -e stderr -c "$LAB_DIR/nginx.conf"
    spawn iperf3 server4 iperf3 --server
}

# Whether something listens on a TCP port of a host.
listening() { on "$1" ss -Hltn "sport = :$2" | grep -q .; }
