# shellcheck shell=bash
# Kafka: one node, KRaft, broker and controller in one process.

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

# Kept from one start to the next: the data directory with the cluster's id.
prepare_kafka() {
    local directory=$stack_dir/kafka
    cat >"$directory/conf/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$kafka_controller_port
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$kafka_port,CONTROLLER://127.0.0.1:$kafka_controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$kafka_port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$directory/data
auto.create.topics.enable=false
# One broker holds the only copy of everything.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=10
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Room for records that Pulsar (5 MiB) cannot take.
message.max.bytes=10485760
replica.fetch.max.bytes=10485760
replica.fetch.response.max.bytes=20971520
# A group starts at once; a killed broker is let in again at once.
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
PROPERTIES
    if [[ ! -f $directory/data/meta.properties ]]; then
        kafka_java kafka.tools.StorageTool format --ignore-formatted -t "$(kafka_cluster_id)" \
            -c "$directory/conf/server.properties" >"$directory/log/format.log" 2>&1 8>&- 9>&- || true
    fi
}

# 16 random bytes in the URL's base64, as Kafka writes ids.
kafka_cluster_id() { head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '='; }

kafka_java() {
    java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$(home_kafka)/libs/*" -Dlog4j2.configurationFile="$lib_dir/log4j2.xml" \
        -Dstack.log="$stack_dir/kafka/log/tools.log" "$@"
}

command_kafka() {
    spawn kafka java -Xms256m -Xmx512m -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError -Djava.awt.headless=true \
        -cp "$(home_kafka)/libs/*" -Dlog4j2.configurationFile="$lib_dir/log4j2.xml" \
        -Dstack.log="$stack_dir/kafka/log/kafka.log" kafka.Kafka "$stack_dir/kafka/conf/server.properties"
}

# Ready when it names itself in the cluster's metadata: request Metadata (key 3, version 4) for no topic, as
# https://kafka.apache.org/protocol.html#The_Messages_Metadata has it. The answer begins with its size, the
# correlation id, the throttle time and the number of brokers, four bytes each.
ready_kafka() {
    port_is_open "$kafka_port" && [[ $(timeout 3 bash -c "$kafka_brokers_script" _ "$kafka_port" 2>/dev/null) == 1 ]]
}

# shellcheck disable=SC2016
kafka_brokers_script='
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf "\0\0\0\017\0\003\0\004\0\0\0\001\377\377\0\0\0\0\0" >&3
    head -c 16 <&3 | tail -c 1 | od -An -tu1 | tr -d " "
'
