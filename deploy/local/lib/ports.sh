# shellcheck shell=bash
# Ports: the usual one, or the one the environment gives, or a free one; remembered in STACK_DIR/ports/SERVER.
#
# Invariant: a port belongs to one stack from the moment it is chosen until that stack goes down, also while its
# server is stopped. The reservations are files in the cache, one per port, naming the stack; they are read and
# written under one lock.

# NAME=USUAL of every port of a server; NAME is the environment's STACK_NAME_PORT and, here, the variable NAME_port.
kafka_ports=(kafka=9092 kafka_controller=9093)
kafka1_ports=(kafka1=9192 kafka1_controller=9193)
kafka2_ports=(kafka2=9292 kafka2_controller=9293)
kafka3_ports=(kafka3=9392 kafka3_controller=9393)
pulsar_ports=(pulsar=6650 pulsar_admin=8080 pulsar_bookie=3181)
rabbitmq_ports=(
    rabbitmq=5672 rabbitmq_management=15672 rabbitmq_stream=5552
    rabbitmq_prometheus=15692 rabbitmq_distribution=25672 rabbitmq_epmd=4369
)
registry_ports=(registry=8081)

# choose_ports SERVER: sets and remembers its NAME_port variables.
choose_ports() {
    with_cache_lock ports choose_ports_locked "$1" || exit 1
    load_ports "$1"
}

choose_ports_locked() {
    local server=$1 entry name port wanted remembered
    local -n entries=${server}_ports
    local chosen=()
    mkdir -p "$stack_dir/ports" "$cache_dir/ports"
    load_ports "$server" || true
    for entry in "${entries[@]}"; do
        name=${entry%%=*}
        wanted=STACK_${name^^}_PORT
        remembered=${name}_port
        if [[ -n ${!wanted:-} ]]; then
            port=${!wanted}
            [[ $port =~ ^[1-9][0-9]{0,4}$ && $port -lt 65536 ]] || fail "$wanted=$port is not a port"
            [[ $port == "${!remembered:-}" ]] || port_is_free "$port" || fail "$wanted=$port: that port is taken"
        elif [[ -n ${!remembered:-} ]]; then
            port=${!remembered}
        else
            port=$(free_port "${entry#*=}")
        fi
        printf '%s\n' "$stack_dir" >"$cache_dir/ports/$port"
        chosen+=("${name}_port=$port")
    done
    printf '%s\n' "${chosen[@]}" >"$stack_dir/ports/$server"
}

# load_ports SERVER: sets its NAME_port variables; fails where none were ever chosen.
load_ports() {
    [[ -f $stack_dir/ports/$1 ]] || return 1
    # shellcheck source=/dev/null
    source "$stack_dir/ports/$1"
}

# free_port USUAL: that one, or one below the range the kernel gives to outgoing connections.
free_port() {
    local port=$1
    until port_is_free "$port"; do
        port=$((20000 + RANDOM % 12000))
    done
    printf '%s\n' "$port"
}

port_is_free() { ! port_is_reserved "$1" && ! port_is_open "$1"; }

# A reservation counts while the stack it names still remembers the port.
port_is_reserved() {
    local owner
    [[ -f $cache_dir/ports/$1 ]] || return 1
    owner=$(<"$cache_dir/ports/$1")
    grep -qs "=$1\$" "$owner"/ports/* && return 0
    rm -f "$cache_dir/ports/$1"
    return 1
}

# port_is_open PORT: somebody listens there (state 0A), on whatever address.
port_is_open() {
    local hex
    hex=$(printf '%04X' "$1")
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v port=":$hex\$" '$4 == "0A" && $2 ~ port { found = 1 } END { exit !found }'
}

# release_ports: gives back what this stack had reserved.
release_ports() { with_cache_lock ports release_ports_locked; }

release_ports_locked() {
    local reservation
    for reservation in "$cache_dir"/ports/*; do
        if [[ -f $reservation && $(<"$reservation") == "$stack_dir" ]]; then
            rm -f "$reservation"
        fi
    done
}
