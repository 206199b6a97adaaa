# shellcheck shell=bash
# The processes that `run` starts. Each is in a session of its own, so that Ctrl-C and a closed terminal reach only the
# script, which ends them in the right order. They do not inherit its lock (file descriptor 7).

# starting, feeding or concluding.
phase=starting
# The step that is waited for, while there is one.
step=
declare -A process_names=()

# While events are fed, the first signal ends the feeding; at any other time a signal ends the script. The exit trap
# leaves nothing behind.
catch_signals() {
    trap interrupted INT TERM
    # The terminal is gone: nothing can be shown any more.
    trap 'exec >/dev/null 2>&1; interrupted' HUP PIPE
}

interrupted() {
    [[ $phase == feeding ]] || exit 130
    phase=concluding
}

# launch NAME COMMAND...: in the background, with a log of its own. Sets `launched`.
launch() {
    local name=$1
    shift
    setsid "$@" </dev/null >"$run_dir/$name.log" 2>&1 7>&- &
    launched=$!
    process_names[$launched]=$name
}

is_alive() { kill -0 "$1" 2>/dev/null; }

# all_alive PID...: fails at the first that is gone, and sets `ended` to its name.
all_alive() {
    local pid
    for pid in "$@"; do
        if ! is_alive "$pid"; then
            ended=${process_names[$pid]}
            return 1
        fi
    done
}

# stop_processes SECONDS PID...: SIGTERM, and SIGKILL to what is still there after so long. Fails where one did not end
# with status 0.
stop_processes() {
    local deadline=$(($(now_ms) + $1 * 1000)) pid status failed=0
    shift
    (($# == 0)) || kill -TERM "$@" 2>/dev/null || true
    for pid in "$@"; do
        while is_alive "$pid"; do
            (($(now_ms) < deadline)) || kill -KILL "$pid" 2>/dev/null || true
            sleep 0.1 || true # Ctrl-C ends it
        done
        status=0
        wait "$pid" || status=$?
        if ((status != 0)); then
            say "${process_names[$pid]} has ended with status $status"
            failed=1
        fi
    done
    return "$failed"
}

# start_step COMMAND...: in the background, its output as the script's own.
start_step() {
    setsid "$@" </dev/null 7>&- &
    step=$!
}

# Waits for the step, also through signals that the script survives, and gives its status.
wait_for_step() {
    local status
    while true; do
        status=0
        wait "$step" || status=$?
        is_alive "$step" || break
    done
    step=
    return "$status"
}

run_step() {
    start_step "$@"
    wait_for_step
}

# Ends the step, and whatever it has started in its session.
stop_step() {
    local deadline=$(($(now_ms) + 10000))
    [[ -n $step ]] || return 0
    # It is no group's leader before its first moment is over.
    kill -TERM -- "-$step" 2>/dev/null || kill -TERM "$step" 2>/dev/null || true
    while is_alive "$step"; do
        (($(now_ms) < deadline)) || kill -KILL -- "-$step" 2>/dev/null || true
        sleep 0.1 || true
    done
    step=
}

show_logs() {
    local log
    for log in "$run_dir"/*.log; do
        if [[ -s $log ]]; then
            printf -- '--- the end of %s\n' "$log" >&2
            tail -n 20 "$log" >&2
        fi
    done
}
