# shellcheck shell=bash
# Kafka, KRaft, broker and controller in one process: `kafka` alone, and beside it `kafka1`, `kafka2` and `kafka3`, a cluster,
# for tests of what only a cluster does.

kafka_version=4.1.1

home_kafka() { printf '%s\n' "$cache_dir/kafka-$kafka_version"; }
address_kafka() { printf '127.0.0.1:%s\n' "$kafka_port"; }
env_kafka() { printf 'KAFKA_BROKERS=127.0.0.1:%s\n' "$kafka_port"; }

fetch_kafka() { fetch_once kafka "$kafka_version" 70 fill_kafka; }

# Kafka has no archive in Maven's repository; its jars with their dependencies are the same thing. kafka-tools holds
# the command line tools, log4j-slf4j-impl what the archive adds for logging.
fill_kafka() {
    cat >"$1/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$kafka_version</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$kafka_version</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
XML
    run_maven kafka "$dependency_plugin:copy-dependencies" -f "$1/pom.xml" -DincludeScope=runtime -DoutputDirectory="$1/libs"
}

# Kept from one start to the next: the data directory with the cluster's id. One broker holds the only copy of everything.
prepare_kafka() {
    kafka_properties kafka 1 "1@127.0.0.1:$kafka_controller_port" 1 3000 >"$stack_dir/kafka/conf/server.properties"
    format_kafka kafka "$(kafka_cluster_id)"
}

# kafka_properties SERVER NODE VOTERS COPIES SESSION_MS: its configuration.
kafka_properties() {
    local directory=$stack_dir/$1 port=${1}_port controller_port=${1}_controller_port
    cat <<PROPERTIES
process.roles=broker,controller
node.id=$2
controller.quorum.voters=$3
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:${!port},CONTROLLER://127.0.0.1:${!controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:${!port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$directory/data
auto.create.topics.enable=false
default.replication.factor=$4
min.insync.replicas=$((($4 + 1) / 2))
offsets.topic.replication.factor=$4
offsets.topic.num.partitions=10
transaction.state.log.replication.factor=$4
transaction.state.log.min.isr=$((($4 + 1) / 2))
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=$4
share.coordinator.state.topic.min.isr=$((($4 + 1) / 2))
# Room for records that Pulsar (5 MiB) cannot take.
message.max.bytes=10485760
replica.fetch.max.bytes=10485760
replica.fetch.response.max.bytes=20971520
# A group starts at once; a killed broker is let in again at once.
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=$5
broker.heartbeat.interval.ms=500
# Who should lead leads again soon.
leader.imbalance.check.interval.seconds=2
leader.imbalance.per.broker.percentage=0
# What is due is cleaned, deleted and aborted soon: tests wait for it.
log.cleaner.backoff.ms=1000
log.retention.check.interval.ms=2000
log.initial.task.delay.ms=1000
PROPERTIES
}

# format_kafka SERVER CLUSTER_ID: unless it was done before.
format_kafka() {
    local directory=$stack_dir/$1
    if [[ ! -f $directory/data/meta.properties ]]; then
        kafka_java "$1" kafka.tools.StorageTool format --ignore-formatted -t "$2" \
            -c "$directory/conf/server.properties" >"$directory/log/format.log" 2>&1 8>&- 9>&- || true
    fi
}

# 16 random bytes in the URL's base64, as Kafka writes ids.
# 16 random bytes in URL-safe base64, as Kafka wants them; none that begins with "-", which its tool takes for an option.
kafka_cluster_id() { head -c 16 /dev/urandom | base64 | tr '+/' 'Aa' | tr -d '='; }

# kafka_java SERVER CLASS ARGUMENT...
kafka_java() {
    local server=$1
    shift
    java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$(home_kafka)/libs/*" -Dlog4j2.configurationFile="$lib_dir/log4j2.xml" \
        -Dstack.log="$stack_dir/$server/log/tools.log" "$@"
}

command_kafka() { spawn_kafka kafka -Xms256m -Xmx512m -XX:+UseG1GC; }

# spawn_kafka SERVER OPTION...: with these options of Java.
spawn_kafka() {
    local server=$1
    shift
    spawn "$server" java "$@" -XX:+ExitOnOutOfMemoryError -Djava.awt.headless=true \
        -cp "$(home_kafka)/libs/*" -Dlog4j2.configurationFile="$lib_dir/log4j2.xml" \
        -Dstack.log="$stack_dir/$server/log/kafka.log" kafka.Kafka "$stack_dir/$server/conf/server.properties"
}

# Ready when it names itself in the cluster's metadata: request Metadata (key 3, version 4) for no topic, as
# https://kafka.apache.org/protocol.html#The_Messages_Metadata has it. The answer begins with its size, the
# correlation id, the throttle time and the number of brokers, four bytes each.
ready_kafka() { kafka_answers "$kafka_port"; }

kafka_answers() {
    port_is_open "$1" && [[ $(timeout 3 bash -c "$kafka_brokers_script" _ "$1" 2>/dev/null) -ge 1 ]]
}

# shellcheck disable=SC2016
kafka_brokers_script='
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf "\0\0\0\017\0\003\0\004\0\0\0\001\377\377\0\0\0\0\0" >&3
    head -c 16 <&3 | tail -c 1 | od -An -tu1 | tr -d " "
'

# A node of the cluster of three. They have to know each other's ports, so the first `up` names all of them.
prepare_kafka_node() {
    local node other port voters=
    for other in 1 2 3; do
        load_ports "kafka$other" || fail "kafka$1: the nodes are first brought up together: up kafka1 kafka2 kafka3"
        port=kafka${other}_controller_port
        voters+=${voters:+,}$other@127.0.0.1:${!port}
    done
    node=kafka$1
    kafka_properties "$node" "$1" "$voters" 3 5000 >"$stack_dir/$node/conf/server.properties"
    format_kafka "$node" "$(kafka_cluster_of_three)"
}

# The id that all three share; the first of them to come makes it.
kafka_cluster_of_three() {
    local file=$stack_dir/kafka1/cluster-id
    if [[ ! -f $file ]]; then
        mkdir -p "$stack_dir/kafka1"
        kafka_cluster_id >"$file.$BASHPID"
        ln "$file.$BASHPID" "$file" 2>/dev/null || true
        rm -f "$file.$BASHPID"
    fi
    cat "$file"
}

env_kafka_node() {
    local node port brokers=
    for node in 1 2 3; do
        load_ports "kafka$node" || return 0
        port=kafka${node}_port
        brokers+=${brokers:+,}127.0.0.1:${!port}
    done
    printf 'KAFKA_CLUSTER_BROKERS=%s\n' "$brokers"
}

for node in 1 2 3; do
    eval "
        home_kafka$node() { home_kafka; }
        fetch_kafka$node() { fetch_kafka; }
        address_kafka$node() { printf '127.0.0.1:%s\n' \"\$kafka${node}_port\"; }
        env_kafka$node() { env_kafka_node; }
        prepare_kafka$node() { prepare_kafka_node $node; }
        command_kafka$node() { spawn_kafka kafka$node -Xms64m -Xmx256m -XX:+UseSerialGC; }
        ready_kafka$node() { kafka_answers \"\$kafka${node}_port\"; }
    "
done
