# shellcheck shell=bash
# RabbitMQ from Debian's package, as a node of our own beside the system's (which is not touched).

rabbitmq_program=/usr/lib/rabbitmq/bin/rabbitmq-server

home_rabbitmq() { printf '%s\n' /usr/lib/rabbitmq; }
address_rabbitmq() { printf '127.0.0.1:%s, http://127.0.0.1:%s\n' "$rabbitmq_port" "$rabbitmq_management_port"; }
env_rabbitmq() {
    printf 'RABBITMQ_URL=amqp://guest:guest@127.0.0.1:%s/%%2f\n' "$rabbitmq_port"
    printf 'RABBITMQ_MANAGEMENT_URL=http://guest:guest@127.0.0.1:%s\n' "$rabbitmq_management_port"
    printf 'RABBITMQ_METRICS_URL=http://127.0.0.1:%s/metrics\n' "$rabbitmq_prometheus_port"
}

fetch_rabbitmq() { :; }

prepare_rabbitmq() {
    local conf=$stack_dir/rabbitmq/conf
    printf '[rabbitmq_management,rabbitmq_prometheus,rabbitmq_stream].\n' >"$conf/enabled_plugins"
    : >"$conf/rabbitmq-env.conf"
    cat >"$conf/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$rabbitmq_port
management.tcp.ip = 127.0.0.1
management.tcp.port = $rabbitmq_management_port
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = $rabbitmq_prometheus_port
stream.listeners.tcp.1 = 127.0.0.1:$rabbitmq_stream_port
stream.advertised_host = 127.0.0.1
stream.advertised_port = $rabbitmq_stream_port
vm_memory_high_watermark.absolute = 2GiB
log.console = false
log.file.level = info
log.file.rotation.size = 20971520
log.file.rotation.count = 2
CONF
}

# Everything the node would share with others of this machine is its own: the port mapper (epmd) and its port, the
# cookie (in HOME), the data. The node's name may then be the same in every stack.
command_rabbitmq() {
    local directory=$stack_dir/rabbitmq
    spawn rabbitmq env HOME="$directory/data" \
        ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$rabbitmq_epmd_port" \
        RABBITMQ_NODENAME=bridges@localhost RABBITMQ_DIST_PORT="$rabbitmq_distribution_port" \
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$rabbitmq_port" \
        RABBITMQ_CONF_ENV_FILE="$directory/conf/rabbitmq-env.conf" \
        RABBITMQ_CONFIG_FILE="$directory/conf/rabbitmq" \
        RABBITMQ_ADVANCED_CONFIG_FILE="$directory/conf/advanced" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$directory/conf/enabled_plugins" \
        RABBITMQ_MNESIA_BASE="$directory/data" RABBITMQ_LOG_BASE="$directory/log" \
        RABBITMQ_GENERATED_CONFIG_DIR="$directory/data/generated" RABBITMQ_SCHEMA_DIR="$directory/data/schema" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none' \
        "$rabbitmq_program"
}

ready_rabbitmq() {
    port_is_open "$rabbitmq_port" && port_is_open "$rabbitmq_stream_port" &&
        http_ok "http://guest:guest@127.0.0.1:$rabbitmq_management_port/api/health/checks/virtual-hosts" '"status":"ok"'
}
