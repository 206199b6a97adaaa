# shellcheck shell=bash
# What every block of a runbook is run with: it stops at the first failure, and has these functions for its setup.
set -euo pipefail

# await COMMAND...: until it succeeds, for a minute at most.
await() {
    local until=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || { echo "not so within a minute: $*" >&2; "$@" >&2 || true; return 1; }
        sleep 0.3
    done
}

# feed RECORDS [OPTION...]: events into the source topic.
feed() {
    local records=$1
    shift
    generate --brokers "$KAFKA_BROKERS" --topic "$SOURCE_TOPIC" --records "$records" --seed "$RANDOM" "$@"
}

start_bridge() {
    nohup "$STREAM-bridge" run >>bridge.log 2>&1 </dev/null &
    echo $! >bridge.pid
    await is_member
}

# It knows its partitions, whether it is content with them or not.
is_member() { (($(curl -fsS "$BRIDGE_URL/status" | jq '.partitions | length') > 0)); }

stop_bridge() {
    kill -TERM "$(cat bridge.pid)"
    tail --pid="$(cat bridge.pid)" -f /dev/null
}

# Every record is settled.
settled() {
    curl -fsS "$BRIDGE_URL/status" |
        jq -e '(.partitions | length > 0) and all(.partitions[]; .state == "running" and .lag_records == 0)'
}

# stopped: a partition says that only a person can help.
stopped() { curl -sS "$BRIDGE_URL/status" | jq -e 'any(.partitions[]; .state == "stopped")'; }

stack() { "$REPOSITORY/deploy/local/stack" "$@"; }
