# shellcheck shell=bash
# Starting, stopping and watching one server. What differs between them is in the functions their own files define:
# prepare_X (write configuration), command_X (spawn it), ready_X (is it ready), address_X, env_X, fetch_X, home_X.
#
# Invariant: every process of a server carries STREAM_BRIDGES_SERVER=<STACK_DIR>/<server> in its environment, or is in
# the session that `spawn` made for it (environments cannot be read everywhere); nothing else on the machine is either.
# Only such processes are signalled.

server_mark() { printf 'STREAM_BRIDGES_SERVER=%s/%s' "$stack_dir" "$1"; }

# server_pids SERVER: all its living processes, one a line.
server_pids() {
    { marked_pids "$1"; session_pids "$1"; } | sort -un
}

marked_pids() {
    grep -lszxF -- "$(server_mark "$1")" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 || true
}

# A session's number is not given to another process while the session lives; one that has ended, and whose number was
# used again, is told by the time at which the new one's processes began.
session_pids() {
    local session started
    read -r session started 2>/dev/null <"$stack_dir/$1/log/session" || return 0
    cat /proc/[0-9]*/stat 2>/dev/null | awk -v session="$session" -v started="$started" '
        { pid = $1; sub(/^.*\) /, "") }
        $1 != "Z" && $1 != "X" && $4 == session && (pid != session || $20 == started) && $20 >= started { print pid }
    ' || true
}

# started_at PID: when it began, in the kernel's ticks.
started_at() { sed 's/^.*) //' "/proc/$1/stat" | cut -d' ' -f20; }

# is_running PID: a zombie is not, which only its parent can take away.
is_running() {
    local stat
    stat=$(sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null) && [[ -n $stat && $stat != [ZX]* ]]
}

# main_pid SERVER: the process that is the server itself (the others are its helpers), or nothing.
main_pid() {
    local pid name
    for pid in $(server_pids "$1"); do
        name=$(cat "/proc/$pid/comm" 2>/dev/null) || continue
        if [[ $name == java || $name == beam.smp ]]; then
            printf '%s\n' "$pid"
            return
        fi
    done
}

# spawn SERVER COMMAND...: in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it.
# Its own log is bounded by its settings; here arrives only what it says before that works. Sets `spawned`.
spawn() {
    local server=$1
    shift
    env "$(server_mark "$server")" setsid "$@" </dev/null >"$stack_dir/$server/log/output.log" 2>&1 8>&- 9>&- &
    spawned=$!
    disown "$spawned" # its end is ours to report, not the shell's
    printf '%s %s\n' "$spawned" "$(started_at "$spawned" 2>/dev/null)" >"$stack_dir/$server/log/session"
}

start_server() {
    local server=$1 started name
    if [[ $(server_state "$server") == ready ]]; then
        say "$server: already up at $(server_address "$server")"
        return 0
    fi
    started=$(now_ms)
    spawned=
    if [[ -z $(server_pids "$server") ]]; then
        refuse_taken_ports "$server"
        mkdir -p "$stack_dir/$server"/{conf,data,log}
        "prepare_$server"
        "command_$server"
    fi
    if wait_until_ready "$server"; then
        say "$server: ready at $(server_address "$server") after $(seconds_since "$started") s"
        return 0
    fi
    say "error: $server did not become ready; its log ends with"
    tail_logs "$server"
    kill_server "$server"
    return 1
}

# A port can be remembered from an earlier start and be somebody else's now.
refuse_taken_ports() {
    local entry name port
    local -n wanted_ports=${1}_ports
    for entry in "${wanted_ports[@]}"; do
        name=${entry%%=*}
        port=${name}_port
        ! port_is_open "${!port}" ||
            fail "$1: port ${!port} of this stack is now used by another program; set STACK_${name^^}_PORT, or 'down' first"
    done
}

# wait_until_ready SERVER: fails when the server has ended or the time is over.
wait_until_ready() {
    local server=$1 deadline=$(($(now_ms) + ${STACK_READY_SECONDS:-180} * 1000)) next_word=$(($(now_ms) + 5000))
    until "ready_$server"; do
        if [[ -z $(server_pids "$server") ]] && ! kill -0 "$spawned" 2>/dev/null; then
            say "$server: has ended by itself"
            return 1
        fi
        if (($(now_ms) > deadline)); then
            say "$server: not ready after ${STACK_READY_SECONDS:-180} s"
            return 1
        fi
        if (($(now_ms) > next_word)); then
            say "$server: starting ..."
            next_word=$((next_word + 5000))
        fi
        sleep 0.2
    done
}

tail_logs() {
    local log
    for log in "$stack_dir/$1"/log/*.log; do
        if [[ -s $log ]]; then
            printf -- '--- %s\n' "$log" >&2
            tail -n 25 "$log" >&2
        fi
    done
}

# stop_server SERVER: asks the server, waits long (Pulsar unloads its topics, and killed it may lose what its bookie has not
# synced), then ends whatever is left of its processes.
stop_server() {
    local server=$1 pid deadline
    pid=$(main_pid "$server")
    if [[ -n $pid ]]; then
        kill -TERM "$pid" 2>/dev/null || true
        deadline=$(($(now_ms) + 90000))
        while is_running "$pid" && (($(now_ms) < deadline)); do
            sleep 0.1
        done
    fi
    kill_server "$server"
}

# kill_server SERVER: SIGKILL to every process of it until there is none, and nothing listens on its ports.
kill_server() {
    local server=$1 pids deadline=$(($(now_ms) + 10000))
    while true; do
        mapfile -t pids < <(server_pids "$server")
        if ((${#pids[@]} == 0)) && ! listens "$server"; then
            return 0
        fi
        if (($(now_ms) >= deadline)); then
            ((${#pids[@]})) || fail "$server: its processes cannot be found, and something listens on its ports"
            fail "$server: processes ${pids[*]} do not end"
        fi
        ((${#pids[@]} == 0)) || kill -KILL "${pids[@]}" 2>/dev/null || true
        sleep 0.1
    done
}

# listens SERVER: one of its ports is open.
listens() {
    local entry port
    local -n its_ports=${1}_ports
    load_ports "$1" || return 1
    for entry in "${its_ports[@]}"; do
        port=${entry%%=*}_port
        ! port_is_open "${!port}" || return 0
    done
    return 1
}

# server_state SERVER: ready, starting or stopped.
server_state() {
    if [[ -z $(server_pids "$1") ]]; then
        printf 'stopped\n'
    elif load_ports "$1" && "ready_$1"; then
        printf 'ready\n'
    else
        printf 'starting\n'
    fi
}

server_address() {
    if load_ports "$1"; then
        "address_$1"
    fi
}

# server_memory SERVER: resident, of all its processes.
server_memory() {
    local pid total=0 pages
    for pid in $(server_pids "$1"); do
        read -r _ pages _ <"/proc/$pid/statm" || continue
        total=$((total + pages))
    done 2>/dev/null
    printf '%d MB\n' $((total * $(getconf PAGESIZE) / 1048576))
}

# http_ok URL [TEXT]: answers 200, and TEXT is in the answer.
http_ok() {
    local answer
    answer=$(curl -fsS --noproxy '*' --max-time 5 "$1" 2>/dev/null) && [[ $answer == *"${2:-}"* ]]
}
