# shellcheck shell=bash
# Schema registry: Apicurio, whose API under /apis/ccompat/v7 is Confluent's. It keeps schemas in memory only.

registry_version=2.6.13.Final

home_registry() { printf '%s\n' "$cache_dir/registry-$registry_version"; }
address_registry() { printf 'http://127.0.0.1:%s/apis/ccompat/v7\n' "$registry_port"; }
env_registry() { printf 'SCHEMA_REGISTRY_URL=http://127.0.0.1:%s/apis/ccompat/v7\n' "$registry_port"; }

fetch_registry() { fetch_once registry "$registry_version" 142 fill_registry; }
fill_registry() { fetch_archive registry "io.apicurio:apicurio-registry-app:$registry_version:tar.gz:all" "$1"; }

prepare_registry() { :; }

command_registry() {
    spawn registry java -Xmx384m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError \
        -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$registry_port" \
        -Dquarkus.log.console.enable=false -Dquarkus.log.file.enable=true \
        -Dquarkus.log.file.path="$stack_dir/registry/log/registry.log" \
        -Dquarkus.log.file.rotation.max-file-size=20M -Dquarkus.log.file.rotation.max-backup-index=2 \
        -jar "$(home_registry)/apicurio-registry-app-$registry_version-runner.jar"
}

ready_registry() {
    port_is_open "$registry_port" && http_ok "http://127.0.0.1:$registry_port/apis/ccompat/v7/subjects" '['
}
