# shellcheck shell=bash
# Pulsar standalone: broker, bookie and metadata store in one process.

pulsar_version=4.0.8

home_pulsar() { printf '%s\n' "$cache_dir/pulsar-$pulsar_version/apache-pulsar-$pulsar_version"; }
address_pulsar() { printf 'pulsar://127.0.0.1:%s, http://127.0.0.1:%s\n' "$pulsar_port" "$pulsar_admin_port"; }
env_pulsar() {
    printf 'PULSAR_URL=pulsar://127.0.0.1:%s\n' "$pulsar_port"
    printf 'PULSAR_ADMIN_URL=http://127.0.0.1:%s\n' "$pulsar_admin_port"
}

fetch_pulsar() { fetch_once pulsar "$pulsar_version" 245 fill_pulsar; }
fill_pulsar() { fetch_archive pulsar "org.apache.pulsar:pulsar-server-distribution:$pulsar_version:tar.gz:bin" "$1"; }

# The distribution's own settings, but for addresses. Deduplication is left off as it is there:
# it is for `bridgectl setup` to turn it on.
prepare_pulsar() {
    local conf=$stack_dir/pulsar/conf/standalone.conf
    cp "$(home_pulsar)/conf/standalone.conf" "$conf"
    set_property "$conf" brokerServicePort "$pulsar_port"
    set_property "$conf" webServicePort "$pulsar_admin_port"
    set_property "$conf" bindAddress 127.0.0.1
    set_property "$conf" advertisedAddress 127.0.0.1
    set_property "$conf" listeningInterface lo
    # Without this standalone takes a random bookie port, whatever it is told.
    set_property "$conf" allowEphemeralPorts true
    # Without it a clean stop under load has been seen to lose a ledger whose entries had their receipts.
    set_property "$conf" journalSyncData true
    set_property "$conf" transactionCoordinatorEnabled false
    local setting
    for setting in ${STACK_PULSAR_SETTINGS:-}; do
        set_property "$conf" "${setting%%=*}" "${setting#*=}"
    done
}

# -nss, -nfw: neither stream storage nor functions worker.
command_pulsar() {
    local directory=$stack_dir/pulsar
    (
        export PULSAR_STANDALONE_CONF=$directory/conf/standalone.conf
        export PULSAR_MEM='-Xms512m -Xmx1g -XX:MaxDirectMemorySize=1g'
        export PULSAR_GC='-XX:+UseG1GC -XX:+PerfDisableSharedMem'
        export PULSAR_GC_LOG='-Xlog:disable -Xlog:all=warning:stderr'
        export PULSAR_LOG_DIR=$directory/log PULSAR_LOG_CONF=$lib_dir/log4j2.xml
        export PULSAR_EXTRA_OPTS="-Dstack.log=$directory/log/pulsar.log -Dpulsar.allocator.exit_on_oom=true -Dio.netty.recycler.maxCapacityPerThread=4096"
        cd "$directory" || exit 1
        spawn pulsar "$(home_pulsar)/bin/pulsar" standalone -nss -nfw -a 127.0.0.1 --bookkeeper-port "$pulsar_bookie_port" \
            --metadata-dir "$directory/data/metadata" --bookkeeper-dir "$directory/data/bookkeeper"
        printf '%s\n' "$spawned" >"$directory/log/pid"
    )
    spawned=$(<"$directory/log/pid")
}

# The health check sends a message and reads it back; the namespace is the last thing standalone makes.
ready_pulsar() {
    port_is_open "$pulsar_admin_port" &&
        http_ok "http://127.0.0.1:$pulsar_admin_port/admin/v2/namespaces/public" '"public/default"' &&
        http_ok "http://127.0.0.1:$pulsar_admin_port/admin/v2/brokers/health" ok
}
