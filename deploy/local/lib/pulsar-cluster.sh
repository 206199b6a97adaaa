# shellcheck shell=bash
# A Pulsar of several brokers from the same distribution as the standalone one: a ZooKeeper, a bookie and two brokers, each a
# process of its own that can be stopped, killed and frozen alone. Together about 1 GB.

# shellcheck disable=SC2034
zookeeper_ports=(zookeeper=2181) bookie_ports=(bookie=3182)
# shellcheck disable=SC2034
broker1_ports=(broker1=6652 broker1_admin=8082) broker2_ports=(broker2=6653 broker2_admin=8083)

# A broker whose ZooKeeper session is over owns nothing any more; the others wait for so long.
cluster_session_ms=10000

home_zookeeper() { home_pulsar; }
home_bookie() { home_pulsar; }
home_broker1() { home_pulsar; }
home_broker2() { home_pulsar; }
fetch_zookeeper() { fetch_pulsar; }
fetch_bookie() { fetch_pulsar; }
fetch_broker1() { fetch_pulsar; }
fetch_broker2() { fetch_pulsar; }
address_zookeeper() { printf '127.0.0.1:%s\n' "$zookeeper_port"; }
address_bookie() { printf '127.0.0.1:%s\n' "$bookie_port"; }
address_broker1() { printf 'pulsar://127.0.0.1:%s, http://127.0.0.1:%s\n' "$broker1_port" "$broker1_admin_port"; }
address_broker2() { printf 'pulsar://127.0.0.1:%s, http://127.0.0.1:%s\n' "$broker2_port" "$broker2_admin_port"; }

env_zookeeper() { :; }
env_bookie() { :; }
env_broker1() {
    printf 'PULSAR_BROKER1_URL=pulsar://127.0.0.1:%s\n' "$broker1_port"
    printf 'PULSAR_BROKER1_ADMIN_URL=http://127.0.0.1:%s\n' "$broker1_admin_port"
    if load_ports broker2; then
        printf 'PULSAR_CLUSTER_URL=pulsar://127.0.0.1:%s,127.0.0.1:%s\n' "$broker1_port" "$broker2_port"
    fi
}
env_broker2() {
    printf 'PULSAR_BROKER2_URL=pulsar://127.0.0.1:%s\n' "$broker2_port"
    printf 'PULSAR_BROKER2_ADMIN_URL=http://127.0.0.1:%s\n' "$broker2_admin_port"
}

prepare_zookeeper() {
    cat >"$stack_dir/zookeeper/conf/zookeeper.conf" <<PROPERTIES
tickTime=1000
dataDir=$stack_dir/zookeeper/data
clientPort=$zookeeper_port
clientPortAddress=127.0.0.1
admin.enableServer=false
maxSessionTimeout=60000
forceSync=no
PROPERTIES
}

# The first thing in an empty ZooKeeper is what the cluster is.
prepare_bookie() {
    local directory=$stack_dir/bookie store
    local conf=$directory/conf/bookkeeper.conf
    wait_for_server zookeeper
    store=zk:127.0.0.1:$zookeeper_port
    if [[ ! -f $directory/data/initialized ]]; then
        load_ports broker1 || choose_ports broker1
        with_pulsar_environment bookie 128m 64m "$(home_pulsar)/bin/pulsar" initialize-cluster-metadata --cluster local \
            --metadata-store "$store" --configuration-metadata-store "$store" \
            --web-service-url "http://127.0.0.1:$broker1_admin_port" --broker-service-url "pulsar://127.0.0.1:$broker1_port" \
            >"$directory/log/initialize.log" 2>&1 8>&- 9>&- || fail "the cluster's metadata could not be written: $directory/log/initialize.log"
        touch "$directory/data/initialized"
    fi
    cp "$(home_pulsar)/conf/bookkeeper.conf" "$conf"
    set_property "$conf" bookiePort "$bookie_port"
    set_property "$conf" advertisedAddress 127.0.0.1
    set_property "$conf" listeningInterface lo
    set_property "$conf" allowLoopback true
    set_property "$conf" metadataServiceUri "metadata-store:$store"
    set_property "$conf" journalDirectory "$directory/data/journal"
    set_property "$conf" ledgerDirectories "$directory/data/ledgers"
    set_property "$conf" journalSyncData false
    set_property "$conf" journalMaxSizeMB 256
    set_property "$conf" autoRecoveryDaemonEnabled false
    set_property "$conf" enableStatistics false
    # Its default serves figures on a fixed port.
    set_property "$conf" statsProviderClass org.apache.bookkeeper.stats.NullStatsProvider
    set_property "$conf" dbStorage_writeCacheMaxSizeMb 32
    set_property "$conf" dbStorage_readAheadCacheMaxSizeMb 16
    set_property "$conf" dbStorage_rocksDB_blockCacheSize 16777216
    # A busy disk of a test machine is no reason to refuse writes.
    set_property "$conf" diskUsageThreshold 0.99
    set_property "$conf" diskUsageWarnThreshold 0.98
}

prepare_broker1() { prepare_broker broker1 "$broker1_port" "$broker1_admin_port"; }
prepare_broker2() { prepare_broker broker2 "$broker2_port" "$broker2_admin_port"; }

prepare_broker() {
    local server=$1 port=$2 admin_port=$3
    local conf=$stack_dir/$server/conf/broker.conf
    wait_for_server bookie
    load_ports zookeeper
    cp "$(home_pulsar)/conf/broker.conf" "$conf"
    set_property "$conf" clusterName local
    set_property "$conf" metadataStoreUrl "zk:127.0.0.1:$zookeeper_port"
    set_property "$conf" configurationMetadataStoreUrl "zk:127.0.0.1:$zookeeper_port"
    set_property "$conf" metadataStoreSessionTimeoutMillis "$cluster_session_ms"
    set_property "$conf" brokerServicePort "$port"
    set_property "$conf" webServicePort "$admin_port"
    set_property "$conf" bindAddress 127.0.0.1
    set_property "$conf" advertisedAddress 127.0.0.1
    # One bookie holds the only copy of everything.
    set_property "$conf" managedLedgerDefaultEnsembleSize 1
    set_property "$conf" managedLedgerDefaultWriteQuorum 1
    set_property "$conf" managedLedgerDefaultAckQuorum 1
    set_property "$conf" managedLedgerCacheSizeMB 32
    # Topics move when a test says so, and not by themselves.
    set_property "$conf" loadBalancerSheddingEnabled false
    set_property "$conf" loadBalancerAutoBundleSplitEnabled false
    set_property "$conf" forceDeleteNamespaceAllowed true
    # A backlog that has grown too large is noticed at once.
    set_property "$conf" backlogQuotaCheckIntervalInSeconds 2
    set_property "$conf" numIOThreads 2
    set_property "$conf" numOrderedExecutorThreads 2
    set_property "$conf" numHttpServerThreads 8
}

command_zookeeper() { spawn_pulsar zookeeper 96m 64m "PULSAR_ZK_CONF=$stack_dir/zookeeper/conf/zookeeper.conf" zookeeper; }
command_bookie() { spawn_pulsar bookie 160m 256m "PULSAR_BOOKKEEPER_CONF=$stack_dir/bookie/conf/bookkeeper.conf" bookie; }
command_broker1() { spawn_pulsar broker1 320m 256m "PULSAR_BROKER_CONF=$stack_dir/broker1/conf/broker.conf" broker; }
command_broker2() { spawn_pulsar broker2 320m 256m "PULSAR_BROKER_CONF=$stack_dir/broker2/conf/broker.conf" broker; }

# spawn_pulsar SERVER HEAP DIRECT NAME=VALUE COMMAND
spawn_pulsar() {
    local server=$1 heap=$2 direct=$3 setting=$4 command=$5
    with_pulsar_environment "$server" "$heap" "$direct" spawn_noting "$server" env "$setting" "$(home_pulsar)/bin/pulsar" "$command"
    spawned=$(<"$stack_dir/$server/log/pid")
}

spawn_noting() {
    spawn "$@"
    printf '%s\n' "$spawned" >"$stack_dir/$1/log/pid"
}

# with_pulsar_environment SERVER HEAP DIRECT COMMAND...
with_pulsar_environment() (
    directory=$stack_dir/$1
    export PULSAR_MEM="-Xms64m -Xmx$2 -XX:MaxDirectMemorySize=$3"
    export PULSAR_GC='-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+PerfDisableSharedMem'
    export PULSAR_GC_LOG='-Xlog:disable -Xlog:all=warning:stderr'
    export PULSAR_LOG_DIR=$directory/log PULSAR_LOG_CONF=$lib_dir/log4j2.xml
    export PULSAR_EXTRA_OPTS="-Dstack.log=$directory/log/$1.log -Dpulsar.allocator.exit_on_oom=true -Dio.netty.recycler.maxCapacityPerThread=4096"
    shift 3
    cd "$directory" || exit 1
    "$@"
)

# ruok, as https://zookeeper.apache.org/doc/current/zookeeperAdmin.html#sc_4lw has it.
ready_zookeeper() {
    port_is_open "$zookeeper_port" &&
        [[ $(timeout 3 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1"; printf ruok >&3; cat <&3' _ "$zookeeper_port" 2>/dev/null) == imok ]]
}
ready_bookie() { port_is_open "$bookie_port"; }
ready_broker1() { broker_is_ready "$broker1_admin_port"; }
ready_broker2() { broker_is_ready "$broker2_admin_port"; }

broker_is_ready() {
    port_is_open "$1" &&
        http_ok "http://127.0.0.1:$1/admin/v2/namespaces/public" '"public/default"' &&
        http_ok "http://127.0.0.1:$1/admin/v2/brokers/health" ok
}

# wait_for_server SERVER: for one that is being started beside, and that others need.
wait_for_server() {
    local deadline=$(($(now_ms) + ${STACK_READY_SECONDS:-180} * 1000))
    until load_ports "$1" && "ready_$1"; do
        (($(now_ms) < deadline)) || fail "$1 is needed, and not up: deploy/local/stack up pulsar-cluster"
        sleep 0.2
    done
}

# stop_cluster SERVER...: those of them that belong to the cluster, in an order in which each still has what it needs to end.
# What is thrown away afterwards needs no order.
stop_cluster() {
    local server
    for server in broker2 broker1 bookie zookeeper; do
        if [[ " $* " == *" $server "* ]]; then
            if [[ $all_servers == yes ]]; then
                kill_server "$server"
            else
                stop_server "$server"
            fi
        fi
    done
}
