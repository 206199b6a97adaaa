# shellcheck shell=bash
# What every script here shares: where things are, messages, locks.

# shellcheck disable=SC2034
servers=(kafka pulsar rabbitmq registry)
# Servers that are brought up by their names alone; `down` without names stops them too.
# shellcheck disable=SC2034
kafka_cluster=(kafka1 kafka2 kafka3) pulsar_cluster=(zookeeper bookie broker1 broker2)
# shellcheck disable=SC2034
extra_servers=("${kafka_cluster[@]}" "${pulsar_cluster[@]}")
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
lib_dir=$repository/deploy/local/lib
stack_dir=$(realpath -m -- "${STACK_DIR:-$repository/target/stack}")
cache_dir=$(realpath -m -- "${STREAM_BRIDGES_CACHE:-${HOME:-/tmp}/.cache/stream-bridges}")

# Messages go to standard error: standard output is for what scripts read (`env`, `status`).
say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

# seconds_since START: with one decimal, START as given by `now_ms`.
now_ms() { date +%s%3N; }
seconds_since() {
    local ms=$(($(now_ms) - $1))
    printf '%d.%d' $((ms / 1000)) $((ms % 1000 / 100))
}

# The servers' own start scripts split their arguments at spaces.
check_directories() {
    local directory
    for directory in "$stack_dir" "$cache_dir"; do
        [[ $directory != *[[:space:]]* ]] ||
            fail "'$directory' has a space in its name, which the servers cannot take: set STACK_DIR and STREAM_BRIDGES_CACHE"
    done
}

# lock_stack: one `up`, `down` or `kill` at a time in this STACK_DIR, until this process ends.
# `down` removes the lock's file with the directory, so whoever waited for it looks again.
# Invariant: file descriptors 8 and 9 are the locks; no server inherits them (see `spawn`).
lock_stack() {
    check_directories
    while true; do
        mkdir -p "$stack_dir"
        exec 9>"$stack_dir/lock" || fail "cannot write in $stack_dir"
        flock 9
        [[ $stack_dir/lock -ef /proc/self/fd/9 ]] && return
    done
}

# with_cache_lock NAME COMMAND...: runs the command while no other stack runs one under that name.
with_cache_lock() {
    local name=$1
    shift
    mkdir -p "$cache_dir"
    (
        exec 8>"$cache_dir/$name.lock"
        flock 8
        "$@"
    )
}

# forget_stack: removes what the stack wrote, and nothing else that may lie in STACK_DIR.
forget_stack() {
    local server
    release_ports
    for server in "${servers[@]}" "${extra_servers[@]}"; do
        rm -rf "${stack_dir:?}/$server"
    done
    rm -rf "$stack_dir/ports" "$stack_dir/lock"
    rmdir --ignore-fail-on-non-empty "$stack_dir"
    say "stack down, nothing left in $stack_dir"
}

# set_property FILE KEY VALUE: replaces the key wherever it is set in a properties file, or adds it.
# Some readers take the first of two equal keys and some the last, so none may be left over.
set_property() {
    local file=$1 key=$2 value=$3
    sed -i "/^${key//./\\.}=/d" "$file"
    printf '\n%s=%s\n' "$key" "$value" >>"$file" # the file's last line may lack its newline
}
